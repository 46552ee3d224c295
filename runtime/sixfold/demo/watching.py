"""Waiting for what the log says: a pipeline's end, and the copies of a volume in step again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sixfold.bus import EARLIEST, TopicPartition, open_bus
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


def fold(outcome: Outcome, event: Event, commit: str) -> str:
    """Take one fact of the pipeline in; returns what to say of it, empty for nothing."""
    if isinstance(event, pipeline.PipelineTriggered) and event.commit == commit:
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


async def outcome_of(shell: Shell, commit: str, say: Callable[[str], None], *, timeout_s: float) -> Outcome:
    """How the execution that the push of `commit` started went, once it has ended."""
    classes = [each for each in vars(pipeline).values() if isinstance(each, type) and issubclass(each, Event)]
    registry = Registry(cls for cls in classes if cls is not Event)
    outcome = Outcome()
    try:
        async with asyncio.timeout(timeout_s), open_bus(shell.bus_url, data_dir=shell.data_dir) as bus:
            count = (await bus.topics())[pipeline.TOPIC].partitions
            partitions = [TopicPartition(pipeline.TOPIC, number) for number in range(count)]
            async with bus.assign(partitions, start=EARLIEST) as consumer:
                while not outcome.ended:
                    for records in (await consumer.fetch(wait_s=5)).values():
                        for record in records:
                            text = fold(outcome, registry.decode(record.value, record.headers), commit)
                            if text:
                                say(text)
    except TimeoutError:
        raise StepError(
            f"no execution of {commit[:12]} ended within {timeout_s:g} s; see `sixfold pipeline list`"
        ) from None
    return outcome


async def caught_up(shell: Shell, *, timeout_s: float) -> int:
    """The durable LSN, once all six copies hold every record up to it."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                status = await shell.call("volume", "status")
                durable = int(status["durable_lsn"])
                if len(status["copies"]) == 6 and all(copy["complete_lsn"] >= durable for copy in status["copies"]):
                    return durable
    except TimeoutError:
        raise StepError(f"the copies were not in step within {timeout_s:g} s; see `sixfold volume status`") from None
