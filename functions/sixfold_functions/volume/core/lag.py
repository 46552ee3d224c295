"""How far a replica is behind, as Aurora's paper measures it: the time from the commit of a record until it is visible.

The writer stamps its durable LSN with the time at which it became durable. A stamp is measured when the replica has
applied up to its LSN.
"""

from __future__ import annotations

import collections

STAMPS_MAX = 1024
"""Stamps that wait; where more come, the newest replaces the one before, since the oldest says how far behind one is."""


class LagMeter:
    """Times are Unix milliseconds, a stamp's by the writer's clock; a difference below zero counts as none."""

    def __init__(self) -> None:
        self._waiting: collections.deque[tuple[int, int]] = collections.deque()
        self._newest_lsn = 0
        self.last_ms: float | None = None
        """What the last measured record took."""

    def durable(self, lsn: int, at_ms: int) -> None:
        """All up to `lsn` became durable at `at_ms`; 0 where that is not known."""
        if not at_ms or lsn <= self._newest_lsn:
            return
        if len(self._waiting) >= STAMPS_MAX:
            self._waiting.pop()
        self._newest_lsn = lsn
        self._waiting.append((lsn, at_ms))

    def applied(self, lsn: int, now_ms: float) -> None:
        """All up to `lsn` is visible now."""
        while self._waiting and self._waiting[0][0] <= lsn:
            self.last_ms = max(now_ms - self._waiting.popleft()[1], 0.0)

    def behind_ms(self, now_ms: float) -> float | None:
        """How long ago the oldest record that is not visible became durable; where all is, what the last one took."""
        return max(now_ms - self._waiting[0][1], 0.0) if self._waiting else self.last_ms
