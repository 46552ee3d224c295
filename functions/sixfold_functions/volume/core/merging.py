"""Putting parts together: the volume's consistency points from what its groups give, each group in its own order.

A group gives only parts that are durable in its volume, so nothing that is put together here can be annulled. A batch is
given once all its groups gave their parts of it, and all batches below were; each of its appends by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from sixfold_functions.volume.core import parts
from sixfold_functions.volume.core.replica import ConsistencyPoint


class Merger:
    """Takes what comes of each group; gives what is behind `start_lsn`, a consistency point of the volume."""

    def __init__(self, start_lsn: int = 0) -> None:
        self.given_lsn = start_lsn
        """The last consistency point that was given out."""
        self.held: dict[int, int] = {}
        """Parts of each group that wait for others."""
        self.places: dict[int, int] = {}
        """Where each group's last part ends that was given, in its own LSNs."""
        self._ends: dict[tuple[int, int], int] = {}
        self._start_lsn = self._end_lsn = start_lsn
        self._waiting: dict[int, dict[int, parts.Part]] = {}
        """By the volume LSN of the record that comes next in them, and by group."""
        self._open: list[bytes] = []

    def take(self, group: int, records: Sequence[bytes], end_lsn: int) -> list[ConsistencyPoint]:
        """One append of a group, which ends at the group's `end_lsn`; the consistency points that are whole with it.

        Raises LabelError where it is no part.
        """
        part = parts.parse(records)
        if part.label.last_lsn <= self._end_lsn:
            return []
        waiting = self._waiting.setdefault(max(part.label.first_lsn, self._start_lsn + 1), {})
        if group in waiting:
            return []
        waiting[group] = part
        self._ends[group, part.label.last_lsn] = end_lsn
        self.held[group] = self.held.get(group, 0) + 1
        points: list[ConsistencyPoint] = []
        while (found := self._waiting.get(self._end_lsn + 1)) is not None:
            label = next(iter(found.values())).label
            if not set(label.groups) <= found.keys():
                break
            del self._waiting[self._end_lsn + 1]
            for each in found:
                self.held[each] -= 1
                self.places[each] = self._ends.pop((each, label.last_lsn))
            points += self._give(label, found)
        return points

    def _give(self, label: parts.Label, found: dict[int, parts.Part]) -> list[ConsistencyPoint]:
        records = {lsn: record for part in found.values() for lsn, record in part.records.items()}
        ends = {label.first_lsn + end for end in label.ends}
        points = []
        for lsn in range(self._end_lsn + 1, label.last_lsn + 1):
            self._open.append(records[lsn])
            if lsn in ends:
                points.append(ConsistencyPoint(self.given_lsn + 1, self._open))
                self.given_lsn, self._open = lsn, []
        self._end_lsn = label.last_lsn
        return points
