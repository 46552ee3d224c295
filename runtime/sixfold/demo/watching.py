"""Waiting for what the log says: a pipeline's end, and the copies of a volume in step again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sixfold.bus import TopicPartition, open_bus
from sixfold.demo.shell import Shell, StepError
from sixfold_events import Event, pipeline
from sixfold_events.registry import Registry


@dataclass
class Outcome:
    """How an execution went."""

    execution: str = ""
    stages: list[str] = field(default_factory=list)
    failure: str = ""
    ended: bool = False


@dataclass(frozen=True)
class Push:
    """The push whose execution is watched."""

    repository: str
    commit: str
    after: dict[TopicPartition, int]
    """Offsets of the pipeline's topic before it: an execution of the same commit from an earlier day is another."""


def fold(outcome: Outcome, event: Event, push: Push) -> str:
    """Take one fact of the pipeline in; returns what to say of it, empty for nothing."""
    if isinstance(event, pipeline.PipelineTriggered):
        if (event.repository, event.commit) != (push.repository, push.commit):
            return ""
        outcome.execution = event.execution
        if event.problem:
            outcome.failure, outcome.ended = event.problem, True
    elif not outcome.execution or getattr(event, "execution", "") != outcome.execution:
        return ""
    elif isinstance(event, pipeline.StageStarted):
        return f"stage {event.stage}"
    elif isinstance(event, pipeline.ActionProgressed):
        return event.text
    elif isinstance(event, pipeline.StageSucceeded):
        outcome.stages.append(event.stage)
    elif isinstance(event, pipeline.PipelineSucceeded):
        outcome.ended = True
    elif isinstance(event, pipeline.PipelineFailed):
        outcome.failure, outcome.ended = event.reason or "no reason given", True
    return ""


async def ends(shell: Shell) -> dict[TopicPartition, int]:
    """Where the pipeline's topic ends now."""
    async with open_bus(shell.bus_url, data_dir=shell.data_dir) as bus:
        count = (await bus.topics())[pipeline.TOPIC].partitions
        partitions = [TopicPartition(pipeline.TOPIC, number) for number in range(count)]
        return {each: (await bus.offsets(each)).end for each in partitions}


async def outcome_of(shell: Shell, push: Push, say: Callable[[str], None], *, timeout_s: float) -> Outcome:
    """How the execution that `push` started went, once it has ended. Raises StepError where it does not in time."""
    classes = [each for each in vars(pipeline).values() if isinstance(each, type) and issubclass(each, Event)]
    registry = Registry(cls for cls in classes if cls is not Event)
    outcome = Outcome()
    try:
        async with (
            asyncio.timeout(timeout_s),
            open_bus(shell.bus_url, data_dir=shell.data_dir) as bus,
            bus.assign(list(push.after)) as consumer,
        ):
            for partition, offset in push.after.items():
                await consumer.seek(partition, offset)
            while not outcome.ended:
                for records in (await consumer.fetch(wait_s=5)).values():
                    for record in records:
                        say(fold(outcome, registry.decode(record.value, record.headers), push))
    except TimeoutError:
        began = (
            f"execution {outcome.execution}" if outcome.execution else f"no execution of {push.commit[:12]} began; it"
        )
        raise StepError(f"{began} did not end within {timeout_s:g} s; see {shell.data_dir}/logs") from None
    return outcome


async def caught_up(shell: Shell, lsn: int, *, timeout_s: float) -> None:
    """Return once all six copies hold every record up to `lsn`. Raises StepError where they do not in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                copies = (await shell.call("volume", "status"))["copies"]
                if len(copies) == 6 and all(copy["complete_lsn"] >= lsn for copy in copies):
                    return
    except TimeoutError:
        raise StepError(
            f"not all copies have LSN {lsn} after {timeout_s:g} s; see the logs of volume.storage in {shell.data_dir}/logs"
        ) from None
