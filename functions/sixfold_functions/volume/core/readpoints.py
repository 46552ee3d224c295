"""Who reads the volume at which LSN, and the low-water mark below which nobody does (Aurora's PGMRPL).

Garbage collection may drop what only states below the mark need. So the mark never passes a reader that is alive, and
never goes back. A reader begins at the durable LSN and is heard of some time later: the mark stays behind the durable
LSN by the time within which a living reader is heard of. One that is silent for longer is not counted any more: it
learns so when it hears of a mark above its LSN.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

PATIENCE_S = 10.0
"""A reader says every second where it reads, so ten of its words were lost, or it stood still."""
SAMPLES = 20
"""So often within `patience_s` the durable LSN is noted."""


@dataclass
class _Reader:
    lsn: int
    heard_at: float | None
    """None for one in this process, which cannot be lost."""


class ReadPoints:
    """The readers of one volume, as its writer counts them. Times are seconds of one monotonic clock."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._readers: dict[str, _Reader] = {}
        self._durable: collections.deque[tuple[float, int]] = collections.deque()
        self.mark = 0
        """The low-water mark, as it was last told."""

    def hold(self, reader: str, lsn: int, now: float) -> bool:
        """`reader` reads at `lsn` from now on, instead of where it read before. False if the mark is above: too late."""
        return self._hold(reader, _Reader(lsn, now))

    def hold_here(self, reader: str, lsn: int) -> bool:
        """As `hold`, for a reader in the writer's process: it counts until it is released."""
        return self._hold(reader, _Reader(lsn, None))

    def _hold(self, reader: str, held: _Reader) -> bool:
        if held.lsn < self.mark:
            self._readers.pop(reader, None)
            return False
        self._readers[reader] = held
        return True

    def release(self, reader: str) -> None:
        """`reader` reads no more."""
        self._readers.pop(reader, None)

    def low_water(self, durable_lsn: int, now: float) -> tuple[int, list[str]]:
        """The mark, and readers that are not counted any more since they were silent for too long."""
        lost = [
            name
            for name, reader in self._readers.items()
            if reader.heard_at is not None and now - reader.heard_at > self._patience_s
        ]
        for name in lost:
            del self._readers[name]
        if not self._durable or now - self._durable[-1][0] >= self._patience_s / SAMPLES:
            self._durable.append((now, durable_lsn))
        while len(self._durable) > 1 and now - self._durable[1][0] >= self._patience_s:
            self._durable.popleft()
        noted_at, noted_lsn = self._durable[0]
        settled = noted_lsn if now - noted_at >= self._patience_s else 0
        lowest = min([settled, *(reader.lsn for reader in self._readers.values())])
        self.mark = max(self.mark, lowest)
        return self.mark, lost

    def readers(self) -> dict[str, int]:
        """At which LSN each reads."""
        return {name: reader.lsn for name, reader in self._readers.items()}
