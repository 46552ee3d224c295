"""A copy's records: one contiguous prefix of batches, and islands beyond a gap.

The prefix is what counts (its end is the SCL). Batches that cannot be connected to it yet wait as islands; they all
come from one writer's epoch, so they never contradict each other.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

P = TypeVar("P")


class Entry(NamedTuple, Generic[P]):
    """One stored batch."""

    first_lsn: int
    last_lsn: int
    backlink_epoch: int
    origin_epoch: int
    consistent_lsn: int
    """Its last consistency point; 0 where it has none."""
    append_offset: int
    """Next offset of `volume.append` after its requests; 0 where it has none."""
    place: P
    """Where the shell finds it."""


class _End(NamedTuple):
    """What is true at the end of the prefix."""

    consistent_lsn: int
    consistent_epoch: int
    append_offset: int


class Prefix(Generic[P]):
    """Entries 1 … SCL without a gap, and what waits beyond."""

    def __init__(self) -> None:
        self._entries: list[Entry[P]] = []
        self._ends: list[_End] = []
        self._staged: list[Entry[P]] = []
        self._islands: dict[int, Entry[P]] = {}
        self._base: int | None = None
        self.seen_lsn = 0
        """Highest LSN known to exist beyond the prefix."""

    @property
    def complete_lsn(self) -> int:
        """SCL."""
        return self._entries[-1].last_lsn if self._entries else 0

    @property
    def consistent_lsn(self) -> int:
        """Highest consistency point at or below the SCL."""
        return self._ends[-1].consistent_lsn if self._ends else 0

    @property
    def consistent_epoch(self) -> int:
        """Origin epoch of the record at `consistent_lsn`."""
        return self._ends[-1].consistent_epoch if self._ends else 0

    @property
    def append_offset(self) -> int:
        """Next offset of `volume.append` after the requests in the prefix."""
        return self._ends[-1].append_offset if self._ends else 0

    @property
    def chained_lsn(self) -> int:
        """End of what follows the prefix (or the point that it branches off at) without a gap."""
        if self._staged:
            return self._staged[-1].last_lsn
        return self.complete_lsn if self._base is None else self._base

    def _chained_epoch(self) -> int:
        """Origin epoch of the record at `chained_lsn`."""
        if self._staged:
            return self._staged[-1].origin_epoch
        return next((entry.origin_epoch for entry in self.between(self.chained_lsn, self.chained_lsn)), 0)

    def knows(self, entry: Entry[P]) -> bool:
        """Whether `entry` lies in what follows without a gap, or is an island already."""
        return entry.first_lsn <= self.chained_lsn or entry.first_lsn in self._islands

    def hold(self, entry: Entry[P]) -> None:
        """Take a batch that is not known yet; it waits until `connect`."""
        self._islands[entry.first_lsn] = entry
        self.seen_lsn = max(self.seen_lsn, entry.last_lsn)
        self._chain()

    def _chain(self) -> None:
        while (following := self._islands.get(self.chained_lsn + 1)) is not None:
            if following.backlink_epoch != self._chained_epoch():
                # Another history than ours below it: it does not count, the gap is filled anew.
                del self._islands[following.first_lsn]
                return
            del self._islands[following.first_lsn]
            self._staged.append(following)

    def connect(self) -> None:
        """Make what follows without a gap part of the prefix, in place of all above the branch if there is one."""
        if self._base is not None:
            self._drop_above(self._base)
            self._base = None
        for entry in self._staged:
            end = self._ends[-1] if self._ends else _End(0, 0, 0)
            if entry.consistent_lsn:
                end = end._replace(consistent_lsn=entry.consistent_lsn, consistent_epoch=entry.origin_epoch)
            self._entries.append(entry)
            self._ends.append(end._replace(append_offset=max(end.append_offset, entry.append_offset)))
        self._staged.clear()

    def forget_islands(self) -> None:
        """Drop all that waits beyond the prefix, and where it branches off."""
        self._staged.clear()
        self._islands.clear()
        self._base = None
        self.seen_lsn = 0

    def cut(self, last_lsn: int) -> None:
        """Annul the prefix above `last_lsn` (a batch that reaches beyond it goes whole); islands stay."""
        self._unstage()
        self._drop_above(last_lsn)
        self._chain()

    def branch(self, last_lsn: int) -> None:
        """What comes continues at `last_lsn`; the prefix above stays until `connect` replaces it."""
        self._unstage()
        self._base = last_lsn
        self._islands = {first: entry for first, entry in self._islands.items() if first > last_lsn}
        self._chain()

    def _unstage(self) -> None:
        self._islands.update((entry.first_lsn, entry) for entry in self._staged)
        self._staged.clear()

    def _drop_above(self, last_lsn: int) -> None:
        while self._entries and self._entries[-1].last_lsn > last_lsn:
            self._entries.pop()
            self._ends.pop()

    def missing(self, known_lsn: int) -> tuple[int, int]:
        """The first gap below what is known to exist (`known_lsn`, islands included); (0, 0) for none."""
        first = self.chained_lsn + 1
        last = max(known_lsn, self.seen_lsn)
        if self._islands:
            last = min(self._islands) - 1
        return (first, last) if last >= first else (0, 0)

    def between(self, first_lsn: int, last_lsn: int) -> Iterator[Entry[P]]:
        """The prefix's entries that have records in `first_lsn` … `last_lsn`, in order."""
        index = bisect.bisect_left(self._entries, first_lsn, key=lambda entry: entry.last_lsn)
        while index < len(self._entries) and self._entries[index].first_lsn <= last_lsn:
            yield self._entries[index]
            index += 1
