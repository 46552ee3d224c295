"""From what is durable in each group to what is durable in their volume.

PGCL is a group's own durable LSN. VCL is the volume LSN up to which every batch is durable in all groups that have a part
of it, and VDL the last consistency point at or below VCL. What the copies of a group are told to be durable, and settle,
is never above VDL: a recovery of the volume may annul the rest, also where the group by itself would keep it.
Source: Verbitski et al., SIGMOD 2018, section 2.3 (PGCL, VCL).
"""

from __future__ import annotations

import bisect
import collections
from collections.abc import Mapping
from typing import NamedTuple

HISTORY_MAX = 65_536
"""Batches whose places are remembered for reads at older points; each is some words of memory."""


class _Sent(NamedTuple):
    last_lsn: int
    complete: bool
    ends: Mapping[int, int]


class Spread:
    """One writer's batches over its groups; `ends` are LSNs of the groups, everything else is volume LSNs."""

    def __init__(self) -> None:
        self.complete_lsn = 0
        """VCL."""
        self.durable_lsn = 0
        """VDL."""
        self.told: dict[int, int] = {}
        """What each group's copies may be told: its LSN of the last part at or below VDL."""
        self._pending: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._sent: collections.deque[_Sent] = collections.deque()
        self._history: dict[int, list[tuple[int, int]]] = {}
        self._history_from = 0

    def begin(self, durable_lsn: int, cuts: Mapping[int, int]) -> None:
        """The volume begins at `durable_lsn`, where each group ends at its cut."""
        self.complete_lsn = self.durable_lsn = self._history_from = durable_lsn
        self.told, self._durable = dict(cuts), dict(cuts)
        self._pending = {}
        self._history = {group: [(durable_lsn, lsn)] for group, lsn in cuts.items()}
        self._sent.clear()

    def sent(self, last_lsn: int, ends: Mapping[int, int], *, complete: bool) -> None:
        """A batch that ends with `last_lsn` is on its way, its part in each group ends at `ends`.

        `complete` says whether its end is a consistency point of the volume.
        """
        self._sent.append(_Sent(last_lsn, complete, ends))

    def on_durable(self, group: int, lsn: int) -> bool:
        """PGCL of a group. True if VDL rose."""
        self._durable[group] = max(self._durable.get(group, 0), lsn)
        before = dict(self.told)
        while self._sent and self._is_durable(self._sent[0]):
            batch = self._sent.popleft()
            self.complete_lsn = batch.last_lsn
            self._pending.update(batch.ends)
            if batch.complete:
                self.durable_lsn = batch.last_lsn
                for each, end in self._pending.items():
                    self.told[each] = end
                    self._remember(each, batch.last_lsn, end)
                self._pending = {}
        return self.told != before

    def _is_durable(self, batch: _Sent) -> bool:
        return all(self._durable.get(group, 0) >= end for group, end in batch.ends.items())

    @property
    def first_point(self) -> int:
        """The oldest volume LSN whose places in the groups are known."""
        return self._history_from

    def lagging(self) -> list[int]:
        """Groups that hold the oldest batch back."""
        ends = self._sent[0].ends if self._sent else {}
        return [group for group, end in ends.items() if self._durable.get(group, 0) < end]

    def _remember(self, group: int, volume_lsn: int, lsn: int) -> None:
        known = self._history[group]
        known.append((volume_lsn, lsn))
        if len(known) > HISTORY_MAX:
            del known[: HISTORY_MAX // 2]
            self._history_from = max(self._history_from, known[0][0])

    def at(self, group: int, volume_lsn: int) -> int | None:
        """Where `group` was when `volume_lsn` was the durable LSN; None where that is not known any more."""
        if volume_lsn < self._history_from:
            return None
        known = self._history[group]
        return known[bisect.bisect_right(known, volume_lsn, key=lambda each: each[0]) - 1][1]
