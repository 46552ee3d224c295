"""Clients that append one after the other in the measured process: how long each append took, and which was the last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.volume.rates import Point

RECORD = b"r" * 300

Append = Callable[[], Awaitable[int]]
"""Appends one record; gives its LSN once it is durable."""


class Load:
    """`clients` tasks, each of which awaits its append before the next one. Use as an async context manager."""

    def __init__(self, append: Append, clients: int) -> None:
        self.took_ms: list[float] = []
        """Of each append, in the order in which they were acknowledged."""
        self.last_lsn = 0
        """The highest that was acknowledged."""
        self._append = append
        self._clients = clients
        self._going = True

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        append, took, clock = self._append, self.took_ms.append, time.perf_counter
        while self._going:
            begun = clock()
            lsn = await append()
            took((clock() - begun) * 1000)
            self.last_lsn = max(self.last_lsn, lsn)

    async def look(self) -> Point:
        """How many are acknowledged. Raises what a client failed with."""
        for task in self._tasks:
            if task.done():
                task.result()
        return Point(len(self.took_ms), time.perf_counter())
