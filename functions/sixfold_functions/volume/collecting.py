"""Collecting a copy's garbage: removes the segments that nobody needs any more, and the index's rows about them.

`core/collection.py` decides. First the file `floor` says with which segment the log begins, synced; then the segments
before it are removed, and what a crash left of them at the next start. Nothing of it needs room on the disk, and a
start collects before it writes anything: a copy whose disk was full goes on by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold_functions.volume import files, floor, index, replaying, segments
from sixfold_functions.volume.core import collection

if TYPE_CHECKING:
    from sixfold_functions.volume.copy import Copy

LOOK_S = 1.0
SEGMENTS_MAX = 16
"""Of them go at once, a gigabyte: files of that size take their time."""
ROWS_MIN = 4096
"""Rows of the index that are let go together at least, 160 kB; and never fewer than those that stay."""


def gone(label: str, floor_lsn: int, wanted_lsn: int, *, pages: bool) -> str:
    """Why a copy does not give the record at `wanted_lsn`; empty where it keeps that."""
    if wanted_lsn > floor_lsn:
        return ""
    why = (
        "of a volume of pages it keeps older records as the pages that they make only; read those"
        if pages
        else "its user gave up older ones (sixfold volume trim)"
    )
    return (
        f"{label} keeps records from LSN {floor_lsn + 1} on, and was asked for LSN {wanted_lsn}: {why}. Read from LSN "
        f"{floor_lsn + 1} on, or have the older ones from a backup: sixfold volume restore"
    )


class Collector:
    """Of one copy. `open` comes first."""

    def __init__(
        self,
        copy: Copy,
        log: segments.SegmentLog,
        rows: index.Index,
        kept: floor.Floor,
        *,
        held_bytes_max: int = collection.HELD_BYTES_MAX,
        rows_min: int = ROWS_MIN,
    ) -> None:
        self._copy = copy
        self._log = log
        self._rows = rows
        self._floor = kept
        self.held_bytes_max = held_bytes_max
        self.rows_min = rows_min
        self._known: dict[int, replaying.Checkpoint | None] = {}
        """Of the segments that are looked at next."""

    def open(self) -> None:
        """The log was read back: take away what a crash left, and all that may go. Raises LogFailedError."""
        if self._log.strays():
            self._floor.confirm()
            self._log.begin_with(self._floor.segment)
        newest = self._checkpoint(self._log.newest)
        if newest is not None and newest.afresh and self._log.newest > self._log.first:
            self.begin_with_newest()
        self.collect()

    def needs(self) -> collection.Needs:
        """Up to which LSN each of those who need records can do without them."""
        node, pages = self._copy.node, self._copy.pages
        return collection.Needs(
            settled_lsn=node.settled_lsn,
            low_water_lsn=node.low_water_lsn,
            held_lsn=node.held_lsn,
            layered_lsn=pages.layered_lsn if pages.page_bytes else None,
            trimmed_lsn=node.trimmed_lsn,
        )

    def collect(self) -> bool:
        """Remove what nobody needs. False where there is nothing to remove. Raises LogFailedError."""
        lsn = collection.collectable_lsn(self.needs(), self._log.size, self.held_bytes_max)
        if lsn <= self._floor.lsn:
            return False
        newest = min(self._log.newest, self._log.first + SEGMENTS_MAX)
        kept = collection.first_kept(self._log.first, newest, lsn, self._highest)
        if kept == self._log.first:
            return False
        checkpoint = self._checkpoint(kept)
        assert checkpoint is not None
        try:
            floor_lsn = self._end(collection.highest_lsn(checkpoint.node.prefix))
        except files.LogDamagedError:
            return False  # a row of the index is damaged; it is mended first
        self._begin_with(kept, max(floor_lsn, self._floor.lsn), checkpoint)
        return True

    def begin_with_newest(self) -> None:
        """The newest segment begins afresh: nothing before it counts. Raises LogFailedError."""
        checkpoint = self._checkpoint(self._log.newest)
        assert checkpoint is not None
        self._begin_with(self._log.newest, checkpoint.node.prefix.floor.last_lsn, checkpoint)

    def _begin_with(self, segment: int, floor_lsn: int, checkpoint: replaying.Checkpoint) -> None:
        """Let the log begin with `segment`, which begins with `checkpoint`, and have all above `floor_lsn`."""
        self._floor.rise(segment, floor_lsn)
        self._log.begin_with(segment)
        self._known = {number: known for number, known in self._known.items() if number > segment}
        left, gone_rows = len(self._rows) - checkpoint.index_rows, checkpoint.index_rows - self._rows.base
        if gone_rows >= max(self.rows_min, left):
            self._rows.let_go(checkpoint.index_rows, checkpoint.node.prefix.floor.last_lsn)
        structlog.get_logger().info(
            "records that nobody needs were let go",
            action="volume.copy.collected",
            volume=self._copy.node.volume,
            copy=self._copy.node.copy,
            first_lsn=floor_lsn + 1,
            first_segment=segment,
        )

    def _checkpoint(self, segment: int) -> replaying.Checkpoint | None:
        if segment not in self._known:
            data = self._log.checkpoint_of(segment)
            try:
                self._known[segment] = None if data is None else msgspec.json.decode(data, type=replaying.Checkpoint)
            except msgspec.DecodeError:
                self._known[segment] = None  # of another version
        return self._known[segment]

    def _highest(self, segment: int) -> int | None:
        checkpoint = self._checkpoint(segment)
        return None if checkpoint is None else collection.highest_lsn(checkpoint.node.prefix)

    def _end(self, lsn: int) -> int:
        """The end of the last settled batch that ends at or below `lsn`. Raises LogDamagedError."""
        row = self._rows.at(lsn + 1)
        return min(lsn, self._rows.last_lsn if row is None else row.first_lsn - 1)


async def run(copy: Copy, clock: clocks.Clock) -> None:
    """Collect for ever, some segments at a time. Raises LogFailedError, which ends the copy."""
    while True:
        await clock.sleep(LOOK_S)
        copy.collector.collect()
