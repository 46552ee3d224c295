"""The gateway's reader of `deploy.commands`: one for all agents, so a thousand of them need no thousand consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import structlog

from sixfold import clock as clocks
from sixfold.bus import Record, Start
from sixfold.errors import SixfoldError
from sixfold.process import Process
from sixfold_events.deploy import DeploymentCommanded
from sixfold_functions.deploy import client, wire

log = structlog.get_logger()

DOWNLOADS_MS = 24 * 3600 * 1000
"""An instance may fetch a command's artifact for this long; a deployment takes less."""
COMMANDS_MAX = 64
"""Kept of one instance; they come one at a time, and each expires within about a minute."""
_RETRY_S = 1.0


class Hub:
    """Commands by instance, as the log has them. Start it before the first request."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._commands: dict[str, deque[tuple[Record, DeploymentCommanded]]] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._release())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait(self, instance: str, after: int, wait_s: float) -> list[wire.Envelope]:
        """The instance's commands after position `after` that can still be begun; waits up to `wait_s` for one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            found = self._after(instance, after)
            if found or self._closed or loop.time() >= deadline:
                return found
            arrival = self._arrivals.setdefault(instance, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await arrival.wait()

    def may_download(self, instance: str, digest: str) -> bool:
        """Whether a command of the last day gives the instance this artifact."""
        since_ms = clocks.now_ms(self._process.clock) - DOWNLOADS_MS
        return any(
            event.artifact == digest and record.timestamp_ms >= since_ms
            for record, event in self._commands.get(instance, ())
        )

    def _after(self, instance: str, after: int) -> list[wire.Envelope]:
        now_ms = clocks.now_ms(self._process.clock)
        return [
            wire.Envelope(record.offset, event.payload, event.signature)
            for record, event in self._commands.get(instance, ())
            if record.offset > after and event.expires_at_ms >= now_ms
        ]

    async def _read(self) -> None:
        """Take the log in, for ever; where the bus fails, from the start again."""
        while True:
            since = Start("timestamp", clocks.now_ms(self._process.clock) - DOWNLOADS_MS)
            try:
                following = client.records(self._process, DeploymentCommanded, start=since, follow=True)
                async with contextlib.aclosing(following):
                    async for record, event in following:
                        self._take(record, event)
            except SixfoldError as error:
                log.warning("cannot read commands", action="deploy.hub.waiting", reason=str(error))
            await self._process.clock.sleep(_RETRY_S)

    def _take(self, record: Record, event: DeploymentCommanded) -> None:
        kept = self._commands.setdefault(event.instance, deque(maxlen=COMMANDS_MAX))
        if not any(known.offset == record.offset for known, _ in kept):
            kept.append((record, event))
        arrival = self._arrivals.pop(event.instance, None)
        if arrival is not None:
            arrival.set()

    async def _release(self) -> None:
        """Answer every waiting poll when the gateway stops, so that it need not wait for them."""
        await self._process.stopping.wait()
        self._closed = True
        for arrival in self._arrivals.values():
            arrival.set()
