"""Ends actions whose end never comes: the gateway's reader of `pipeline.events`, and what it says when one is overdue.

Builds and deployments have limits of their own, which come first by far. This is for what those cannot see: nobody
carries the work out, or its result was lost. Saying it twice, or too late, is harmless: the table takes a failure only
of the action at which the execution stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import structlog

from sixfold import clock as clocks
from sixfold import errors, publisher
from sixfold.bus import port
from sixfold.process import Process
from sixfold_events import DecodeError, Event
from sixfold_events import pipeline as events

DAY_S = 24 * 3600
ACTION_S_MAX: Mapping[str, int] = {"Build": 2 * DAY_S, "Deploy": 5 * DAY_S}
"""By category. CodePipeline gives a deployment five days; a build's own limit is eight hours, and it may have to wait
for others to make room."""
LOOK_S = 2.0
"""How often the time is looked at."""
RETRY_S = 1.0
log = structlog.get_logger()


class Awaited:
    """The action that each pipeline waits for: a fold of `pipeline.events`. Pure."""

    def __init__(self) -> None:
        self._actions: dict[str, events.ActionStarted] = {}

    def fold(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, events.ActionStarted):
            self._actions[event.pipeline] = event
        elif isinstance(event, events.ActionSucceeded | events.ActionFailed):
            awaited = self._actions.get(event.pipeline)
            if awaited is not None and awaited.action_execution == event.action_execution:
                del self._actions[event.pipeline]

    def overdue(self, now_ms: int) -> list[events.ActionFailed]:
        """What is to be said of actions whose time is over."""
        return [
            events.ActionFailed(
                pipeline=each.pipeline,
                execution=each.execution,
                action_execution=each.action_execution,
                reason=f"{each.action} ({each.category}) did not end within {_limit_s(each) // DAY_S} days; is anybody "
                "there who carries it out? `sixfold status` shows what runs",
                log_tail="",
                at_ms=now_ms,
            )
            for each in self._actions.values()
            if now_ms >= each.at_ms + _limit_s(each) * 1000
        ]


class Deadlines:
    """One per gateway process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._bus = process.require_bus()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="pipeline.deadlines")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._watch()
            except errors.SixfoldError as error:
                log.warning("cannot read executions", action="pipeline.deadlines.waiting", reason=str(error))
            await self._process.clock.sleep(RETRY_S)

    async def _watch(self) -> None:
        """Follow the log from its beginning; returns where it has no such topic yet."""
        spec = (await self._bus.topics()).get(events.TOPIC)
        if spec is None:
            return
        partitions = [port.TopicPartition(events.TOPIC, number) for number in range(spec.partitions)]
        awaited, caught_up = Awaited(), False
        async with self._bus.assign(partitions) as consumer:
            while True:
                fetched = await consumer.fetch(wait_s=LOOK_S)
                for records in fetched.values():
                    for record in records:
                        with contextlib.suppress(DecodeError):  # of a newer version than this gateway
                            awaited.fold(self._process.registry.decode(record.value, record.headers))
                caught_up = caught_up or not fetched
                if caught_up:
                    await self._say(awaited.overdue(clocks.now_ms(self._process.clock)))

    async def _say(self, overdue: list[events.ActionFailed]) -> None:
        records = [
            publisher.record_of(
                event,
                source="/gateway/pipeline",
                clock=self._process.clock,
                event_id=f"{event.action_execution}.overdue",
            )
            for event in overdue
        ]
        if records:
            await self._bus.publish(records)


def _limit_s(started: events.ActionStarted) -> int:
    return ACTION_S_MAX.get(started.category, max(ACTION_S_MAX.values()))
