"""Time as a parameter: the one module that reads the real clock.

Everything that needs the time takes a `Clock`, so that a test or the simulator can hold time in its hand and a
failure replays from its seed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for a later one."""

    def now(self) -> float:
        """Wall-clock time as Unix seconds; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back. For intervals and deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def now_ms(clock: Clock) -> int:
    """Wall-clock time of `clock` as Unix milliseconds, as Kafka stamps records."""
    return int(clock.now() * 1000)
