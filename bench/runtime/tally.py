"""Counting inside a measured process, the same on every side: the clock runs from the first to the last record.

Times are of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import json
import time
from typing import Any


def say(**fields: Any) -> None:
    """Print one JSON line to whoever measures."""
    print(json.dumps(fields), flush=True)


class Tally:
    """Counts handled records, and adds up their numbers, so that one handled twice does not stand in for one skipped."""

    def __init__(self, count: int, warm: int) -> None:
        self.handled = 0
        self.numbers = 0
        self.violations = 0
        self._count = count
        self._warm = max(1, warm)
        self._first_s = 0.0
        self._first_cpu_s = 0.0

    def add(self, number: int) -> None:
        """A record was handled; says the result after the last one."""
        self.handled += 1
        self.numbers += number
        if self.handled == self._warm:
            self._first_s = time.monotonic()
            self._first_cpu_s = time.process_time()
        elif self.handled == self._count:
            say(
                handled=self.handled,
                numbers=self.numbers,
                violations=self.violations,
                first_s=self._first_s,
                last_s=time.monotonic(),
                cpu_s=time.process_time() - self._first_cpu_s,
            )


class OrderedTally(Tally):
    """Also notices when two records of one key are under way at once, or come in another order than they were written."""

    def __init__(self, count: int, warm: int) -> None:
        super().__init__(count, warm)
        self._running: set[str] = set()
        self._last: dict[str, int] = {}

    def begin(self, key: str, number: int) -> None:
        """A handler begins with a record of `key`."""
        if key in self._running or self._last.get(key, -1) >= number:
            self.violations += 1
        self._running.add(key)

    def end(self, key: str, number: int) -> None:
        """It is done."""
        self._running.discard(key)
        self._last[key] = number
        self.add(number)


def burn(seconds: float) -> None:
    """Use the processor for `seconds` of this thread's own time, however often it is interrupted."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
