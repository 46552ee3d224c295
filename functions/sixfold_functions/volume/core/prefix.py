"""A copy's records: one contiguous prefix of batches, and islands beyond a gap.

The prefix is what counts (its end is the SCL). Batches that cannot be connected to it yet wait as islands; they all
come from one writer's epoch, so they never contradict each other.

Only what may still change is held here. Batches that no recovery can change any more are `released` to the shell,
which finds them again on the disk; of them only the end is known here. So memory does not grow with the volume.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import msgspec

P = TypeVar("P")

ISLANDS_MAX = 4096
"""Batches that wait beyond a gap; what comes then is let go, and is filled like any other gap."""


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


class End(NamedTuple):
    """What is true at the end of a run of batches from LSN 1 on."""

    last_lsn: int = 0
    origin_epoch: int = 0
    """Of the last record."""
    consistent_lsn: int = 0
    consistent_epoch: int = 0
    append_offset: int = 0

    def after(self, entry: Entry[P]) -> End:
        """The end with `entry` behind it."""
        return End(
            entry.last_lsn,
            entry.origin_epoch,
            entry.consistent_lsn or self.consistent_lsn,
            entry.origin_epoch if entry.consistent_lsn else self.consistent_epoch,
            max(self.append_offset, entry.append_offset),
        )


class PrefixState(msgspec.Struct, Generic[P], frozen=True):
    """All of a prefix that its shell does not find on the disk by LSN."""

    floor: End
    entries: list[Entry[P]]
    staged: list[Entry[P]]
    islands: list[Entry[P]]
    base: int | None
    seen_lsn: int


class Prefix(Generic[P]):
    """Entries 1 … SCL without a gap, and what waits beyond."""

    def __init__(self) -> None:
        self._floor = End()
        """End of what was released."""
        self._entries: list[Entry[P]] = []
        self._ends: list[End] = []
        self._staged: list[Entry[P]] = []
        self._islands: dict[int, Entry[P]] = {}
        self._base: int | None = None
        self._released: list[Entry[P]] = []
        self.seen_lsn = 0
        """Highest LSN known to exist beyond the prefix."""

    def begin(self, floor: End) -> None:
        """Begin behind records that somebody else keeps."""
        assert not self._entries, self._entries
        self._floor = floor

    def begin_at(self, floor: End) -> None:
        """Begin behind records that are durable, in place of all that was here; what waited beyond comes again."""
        self._entries, self._ends, self._staged, self._islands = [], [], [], {}
        self._base, self._floor = None, floor

    @property
    def end(self) -> End:
        """What is true at the SCL."""
        return self._ends[-1] if self._ends else self._floor

    @property
    def complete_lsn(self) -> int:
        """SCL."""
        return self.end.last_lsn

    @property
    def floor_lsn(self) -> int:
        """Last LSN that was released; nothing can change up to here."""
        return self._floor.last_lsn

    @property
    def floor_epoch(self) -> int:
        """Origin epoch of the record at `floor_lsn`."""
        return self._floor.origin_epoch

    @property
    def _branch_lsn(self) -> int:
        """Where what is staged continues the prefix."""
        return self.complete_lsn if self._base is None else self._base

    @property
    def chained_lsn(self) -> int:
        """End of what follows the prefix (or the point that it branches off at) without a gap."""
        return self._staged[-1].last_lsn if self._staged else self._branch_lsn

    def _chained_epoch(self) -> int:
        """Origin epoch of the record at `chained_lsn`."""
        if self._staged:
            return self._staged[-1].origin_epoch
        lsn = self._branch_lsn
        if lsn == self._floor.last_lsn:
            return self._floor.origin_epoch
        return next((entry.origin_epoch for entry in self.between(lsn, lsn)), 0)

    def knows(self, entry: Entry[P]) -> bool:
        """Whether `entry` lies in what follows without a gap, or is an island already."""
        return entry.first_lsn <= self.chained_lsn or entry.first_lsn in self._islands

    def hold(self, entry: Entry[P]) -> bool:
        """Take a batch that is not known yet; it waits until `connect`. False if it is let go for lack of room."""
        self.seen_lsn = max(self.seen_lsn, entry.last_lsn)
        if len(self._islands) >= ISLANDS_MAX and entry.first_lsn != self.chained_lsn + 1:
            return False
        self._islands[entry.first_lsn] = entry
        self._chain()
        return True

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
        self._connect(len(self._staged))
        self._base = None

    def connect_durable(self, durable_lsn: int) -> bool:
        """Make as much of what follows part of the prefix as is durable and replaces all above the branch.

        What lies above the branch may be durable itself, so until then it stays and what follows waits. True if done.
        """
        count = bisect.bisect_right(self._staged, durable_lsn, key=lambda entry: entry.last_lsn)
        if not count or self._staged[count - 1].last_lsn < self.complete_lsn:
            return False
        branched = self._base is not None
        self._connect(count)
        self._base = self.complete_lsn if branched else None
        return True

    def _connect(self, count: int) -> None:
        if self._base is not None:
            self._drop_above(self._base)
        for entry in self._staged[:count]:
            self._ends.append(self.end.after(entry))
            self._entries.append(entry)
        del self._staged[:count]

    def release(self, settled_lsn: int) -> None:
        """Nothing up to `settled_lsn` can change any more: hand it to the shell."""
        count = bisect.bisect_right(self._entries, settled_lsn, key=lambda entry: entry.last_lsn)
        if count:
            self._floor = self._ends[count - 1]
            self._released.extend(self._entries[:count])
            del self._entries[:count], self._ends[:count]

    def take_released(self) -> list[Entry[P]]:
        """Batches that the shell must find from now on, in the order of their LSNs; each is given once."""
        released, self._released = self._released, []
        return released

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
        assert last_lsn >= self.floor_lsn, (last_lsn, self._floor)
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
        """The prefix's entries above the floor that have records in `first_lsn` … `last_lsn`, in order."""
        index = bisect.bisect_left(self._entries, first_lsn, key=lambda entry: entry.last_lsn)
        while index < len(self._entries) and self._entries[index].first_lsn <= last_lsn:
            yield self._entries[index]
            index += 1

    def state(self) -> PrefixState[P]:
        """For a checkpoint. Everything released must have been taken."""
        assert not self._released, self._released
        islands = list(self._islands.values())
        return PrefixState(self._floor, list(self._entries), list(self._staged), islands, self._base, self.seen_lsn)

    def restore(self, state: PrefixState[P]) -> None:
        """Be what `state` was taken of."""
        self._floor, self._base, self.seen_lsn = state.floor, state.base, state.seen_lsn
        self._entries, self._staged = list(state.entries), list(state.staged)
        self._islands = {entry.first_lsn: entry for entry in state.islands}
        self._ends = []
        for entry in self._entries:
            self._ends.append(self.end.after(entry))
