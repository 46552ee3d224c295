"""Which topics there are, asked once for all functions of a process that look now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from sixfold import clock as clocks
from sixfold.process import Process


class TopicNames:
    """The names of the bus's topics; open it by `process.resources.get(TopicNames)`."""

    def __init__(self, process: Process) -> None:
        self._bus = process.require_bus()
        self._clock = clocks.SystemClock()
        self._lock = asyncio.Lock()
        self._asked_s = float("-inf")
        self._names: Collection[str] = ()

    async def now(self, *, age_s_max: float = 0.0) -> Collection[str]:
        """As the bus says now, or said `age_s_max` ago at most. Raises what `Bus.topics` raises."""
        async with self._lock:
            if self._clock.monotonic() - self._asked_s >= age_s_max:
                self._names = frozenset(await self._bus.topics())
                self._asked_s = self._clock.monotonic()
            return self._names
