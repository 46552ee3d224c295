"""The past of a clone: records that its copies read from the backup when somebody asks, and do not keep themselves."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Callable, Iterator

from sixfold import errors
from sixfold_events.volume import VolumeRedoBatch, VolumeRestored
from sixfold_functions.volume import files
from sixfold_functions.volume.backup import archive, building, objects, store
from sixfold_functions.volume.core import restore
from sixfold_functions.volume.core.backup import Batch, Piece

BLOCKS_MAX = 16
"""Blocks in memory, about 4 MiB."""
HEADS_MAX = 64
ANSWER_BLOCKS = 4
"""What one answer to a reader can need."""


class SharedPast:
    """`sharing.Past` on an archive."""

    def __init__(self, source: archive.Archive, origin: VolumeRestored) -> None:
        self._archive = source
        self._origin = origin
        self._heads: collections.OrderedDict[Piece, objects.Head] = collections.OrderedDict()
        self._blocks: collections.OrderedDict[tuple[Piece, int], list[Batch]] = collections.OrderedDict()

    def prepare(self, first_lsn: int) -> None:
        """Have in memory what an answer from `first_lsn` on needs. For a thread: stores may take their time."""
        lsn = max(first_lsn, 1)
        try:
            for _ in range(ANSWER_BLOCKS):
                if lsn > self._origin.last_lsn:
                    return
                lsn = self._block(lsn)[-1].last_lsn + 1
        except errors.SixfoldError:
            return  # whoever reads it is told

    def between(self, first_lsn: int, last_lsn: int) -> Iterator[VolumeRedoBatch]:
        lsn, last_lsn = first_lsn, min(last_lsn, self._origin.last_lsn)
        while lsn <= last_lsn:
            try:
                block = self._block(lsn)
            except errors.SixfoldError as error:
                raise files.LogDamagedError(
                    f"volume {self._origin.volume} shares the past of another: {error}"
                ) from error
            for event in building.events(block, self._origin):
                end = event.first_lsn + len(event.payloads) - 1
                if end >= lsn and event.first_lsn <= last_lsn:
                    yield event
                    lsn = end + 1

    def _block(self, lsn: int) -> list[Batch]:
        """The batches around the record at `lsn`."""
        if lsn <= self._origin.snapshot_records:
            return self._stored(lsn, self._part)
        lsns = restore.shift(self._origin)
        found = self._stored(lsn - lsns, self._piece)
        return [restore.moved(batch, lsns) for batch in found] if lsns else found

    def _stored(self, lsn: int, find: Callable[[int], Piece]) -> list[Batch]:
        for tries in range(archive.TRIES):
            piece = find(lsn)
            try:
                return self._read(piece, lsn)
            except store.ObjectMissingError:
                if tries == archive.TRIES - 1:
                    raise
                self._archive.refresh()  # it was merged meanwhile
            except objects.ObjectDamagedError:
                if self._heads.pop(piece, None) is None or tries == archive.TRIES - 1:
                    raise  # read anew, it is damaged; else it may have been written anew meanwhile, under another key
        raise AssertionError("unreachable")

    def _part(self, number: int) -> Piece:
        if not self._archive.snapshots:
            self._archive.refresh()
        parts = self._archive.snapshot(self._origin.snapshot_lsn).pieces
        return parts[bisect.bisect_left(parts, number, key=lambda part: part.last_lsn)]

    def _piece(self, lsn: int) -> Piece:
        if self._archive.chain.last_lsn < lsn:
            self._archive.refresh()
        pieces = self._archive.whole_of(lsn).pieces
        place = bisect.bisect_left(pieces, lsn, key=lambda piece: piece.last_lsn)
        if place == len(pieces):
            raise archive.BackupError(
                f"{self._archive.url}: the backup of volume {self._archive.volume} has no record at LSN {lsn}; it must stay "
                "as long as a clone of it lives"
            )
        return pieces[place]

    def _read(self, piece: Piece, lsn: int) -> list[Batch]:
        head = self._heads.get(piece)
        if head is None:
            head = self._heads[piece] = self._archive.head(piece)
            while len(self._heads) > HEADS_MAX:
                self._heads.popitem(last=False)
        place = bisect.bisect_left(head.blocks, lsn, key=lambda block: block.last_lsn)
        found = self._blocks.get((piece, place))
        if found is None:
            found = self._blocks[piece, place] = self._archive.block(piece, head, head.blocks[place])
            while len(self._blocks) > BLOCKS_MAX:
                self._blocks.popitem(last=False)
        return found
