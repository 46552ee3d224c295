"""Deliveries that take too long: aiokafka would try for ever to reach a broker or a topic that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sixfold import clock as clocks
from sixfold.bus import port

CHECK_S = 2.0
"""A delivery that waits for so long is looked at, and again after as long."""


class Overdue:
    """Watches futures of deliveries; the one task of it runs only while any is awaited."""

    def __init__(self, clock: clocks.Clock, check: Callable[[str, float], Awaitable[None]]) -> None:
        self._clock = clock
        self._check = check
        self._waiting: dict[asyncio.Future[Any], tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, future: asyncio.Future[Any], topic: str) -> Any:
        """The future's result; or what `check(topic, waited_s)` raises, called every `CHECK_S` while it is not done."""
        if not future.done():
            self._waiting[future] = (topic, self._clock.monotonic())
            if self._task is None:
                self._task = asyncio.create_task(self._watch(), name="overdue deliveries")
            try:
                return await future
            finally:
                del self._waiting[future]
        return future.result()

    async def close(self) -> None:
        """Stop watching."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            if not self._waiting:
                self._task = None
                return
            now_s = self._clock.monotonic()
            overdue: dict[str, list[tuple[asyncio.Future[Any], float]]] = {}
            for future, (topic, since_s) in self._waiting.items():
                if now_s - since_s >= CHECK_S:
                    overdue.setdefault(topic, []).append((future, now_s - since_s))
            for topic, futures in overdue.items():
                try:
                    await self._check(topic, max(waited_s for _, waited_s in futures))
                except port.BusError as error:
                    for future, _ in futures:
                        if not future.done():  # aiokafka leaves a future alone that is done
                            future.set_exception(error)
