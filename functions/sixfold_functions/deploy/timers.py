"""The gateway's reader of `deploy.timers`: says `DeploymentDue` when a group's timer runs out.

Timers lie in a compacted topic, so a restart finds them again. Firing twice is harmless: `core.py` looks at the time.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from sixfold import clock as clocks
from sixfold.bus import BusError
from sixfold.errors import SixfoldError
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.deploy import DeploymentDue, DeploymentTimerSet
from sixfold_functions.deploy import client

log = structlog.get_logger()

_RETRY_S = 1.0


class Timers:
    """Timers by group. `grace_s`: none fires sooner than this after the start, since agents come back only then."""

    def __init__(self, process: Process, grace_s: float) -> None:
        self._process = process
        self._publisher = Publisher(process.require_bus(), source="/gateway/deploy", clock=process.clock)
        self._floor_ms = clocks.now_ms(process.clock) + int(grace_s * 1000)
        self._set: dict[str, DeploymentTimerSet] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._fire())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                following = client.records(self._process, DeploymentTimerSet, follow=True)
                async with contextlib.aclosing(following):
                    async for _, timer in following:
                        self._set.pop(timer.group, None)
                        if timer.due_at_ms:
                            self._set[timer.group] = timer
                        self._changed.set()
            except SixfoldError as error:
                log.warning("cannot read timers", action="deploy.timers.waiting", reason=str(error))
            await self._process.clock.sleep(_RETRY_S)

    async def _fire(self) -> None:
        while True:
            self._changed.clear()
            now_ms = clocks.now_ms(self._process.clock)
            for timer in [each for each in self._set.values() if self._fires_at(each) <= now_ms]:
                due = DeploymentDue(group=timer.group, deployment_id=timer.deployment_id, due_at_ms=timer.due_at_ms)
                try:
                    await self._publisher.publish(due)
                except BusError as error:
                    log.warning("cannot say what is due", action="deploy.timers.waiting", reason=str(error))
                    await self._process.clock.sleep(_RETRY_S)
                else:
                    if self._set.get(timer.group) is timer:
                        del self._set[timer.group]
            wait_s = min((self._fires_at(each) - now_ms for each in self._set.values()), default=3_600_000) / 1000
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, 0.001)):
                    await self._changed.wait()

    def _fires_at(self, timer: DeploymentTimerSet) -> int:
        return max(timer.due_at_ms, self._floor_ms)
