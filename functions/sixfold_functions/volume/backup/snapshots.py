"""Page snapshots in a volume's backup: made of the one before and the log since, read, and what is older let go.

Nothing but the object store is read. A snapshot counts once all its objects are there; one that a killed process left
unfinished is completed by the next, or goes with what is older.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.backup import archive, objects, references
from sixfold_functions.volume.core import backup, pages, restore, snapshots
from sixfold_functions.volume.core.backup import Batch, Snapshot, Tail
from sixfold_functions.volume.core.prefix import End
from sixfold_functions.volume.pages import layer as layers
from sixfold_functions.volume.pages.tail import Tail as Changes

PART_BYTES = 16 * 1024 * 1024
"""An object of a snapshot ends beyond this."""
RUN_BYTES = 64 * 1024 * 1024
"""Of changes that are sorted in memory; more of them wait in files beside."""


def read(kept: archive.Archive, snapshot: Snapshot) -> Iterator[Batch]:
    """Its records, checked. Raises ObjectDamagedError, StoreError."""
    last: Batch | None = None
    try:
        for last in restore.follow(kept.objects_of(snapshot.pieces)):
            yield last
    except restore.DamagedHistoryError as error:
        raise objects.ObjectDamagedError(f"{kept.url}: the snapshot at LSN {snapshot.lsn}: {error}") from error
    if last is None or last.consistency_points != [snapshot.records]:
        raise objects.ObjectDamagedError(
            f"{kept.url}: the snapshot of volume {kept.volume} at LSN {snapshot.lsn} ends before its last page"
        )


def page_bytes(kept: archive.Archive) -> int:
    """Of a volume of pages; 0 for a volume of records, and where there is nothing yet.

    Raises StoreError, ObjectDamagedError.
    """
    for snapshot in reversed(kept.snapshots):
        try:
            return pages.page_bytes(kept.first_record(snapshot.pieces[0]))
        except objects.ObjectDamagedError:
            kept.distrust(snapshot.pieces)
    if kept.chain.base is not None or not kept.chain.pieces:
        return 0
    return pages.page_bytes(kept.first_record(kept.chain.pieces[0]))


class Maker:
    """Makes snapshots; `folder` is for files that it needs meanwhile."""

    def __init__(
        self,
        kept: archive.Archive,
        folder: Path,
        *,
        part_bytes: int = PART_BYTES,
        run_bytes: int = RUN_BYTES,
        going_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._kept = kept
        self._folder = folder
        self._part_bytes = part_bytes
        self._run_bytes = run_bytes
        self._going_on = going_on
        """Asked now and then; where it says no, the snapshot stays unfinished."""

    def make(self) -> Tail | None:
        """One at the last possible point of the log; where it is. None where there is no newer one to be had.

        Raises StoreError, ObjectDamagedError, BackupError.
        """
        kept = self._kept
        before = snapshots.newest(kept.snapshots, kept.chain, kept.chain.last_ms)
        at = self._point(before.lsn if before is not None else kept.chain.base_lsn)
        if at is None or not page_bytes(kept):
            return None
        try:
            with contextlib.ExitStack() as stack:
                return at if self.put(self.batches(before, at, stack), at) else None
        except pages.PageDamagedError as error:
            raise archive.BackupError(f"{kept.url}: volume {kept.volume} up to LSN {at.last_lsn}: {error}") from error

    def _point(self, lsn: int) -> Tail | None:
        for piece in reversed([each for each in self._kept.chain.pieces if each.last_lsn > lsn]):
            found = snapshots.point(self._kept.objects_of([piece]))
            if found is not None:
                return found if found.last_lsn > lsn else None
        return None

    def batches(self, before: Snapshot | None, at: Tail, stack: contextlib.ExitStack) -> Iterator[Batch]:
        """Those of the snapshot at `at`, of the one before and the log since; `stack` closes what they need."""
        kept, lsn, size = self._kept, 0, 0
        images: Iterator[pages.Change] = iter(())
        bytes_of_a_page = page_bytes(kept)
        if before is not None:
            lsn = before.lsn
            _, size, images = snapshots.images(self._read(before), lsn)
        changes, runs = Changes(End(lsn), size), []
        for batch in kept.batches(lsn + 1, at.last_lsn):
            for change in pages.changes(batch.first_lsn, batch.payloads):
                if change.kind is not pages.Kind.FORMAT:
                    changes.add(change)
            changes.end = End(batch.last_lsn)
            if changes.bytes >= self._run_bytes:
                runs.append(self._spilled(changes, stack, bytes_of_a_page))
                changes = Changes(changes.end, changes.size)
        shrinks = [*itertools.chain.from_iterable(run.shrinks for run in runs), *changes.shrinks]
        found = pages.images(
            [images, *(run.scan() for run in runs), changes.scan()],
            shrinks,
            upto=at.last_lsn,
            size=changes.size,
            page_bytes=bytes_of_a_page,
        )
        found = (each for each in found if each.page != pages.SIZE_PAGE)
        return snapshots.batches(found, page_bytes=bytes_of_a_page, size=changes.size, at=at)

    def _read(self, before: Snapshot) -> Iterator[Batch]:
        try:
            yield from read(self._kept, before)
        except objects.ObjectDamagedError:
            self._kept.distrust(before.pieces)  # an older one, or the log, does as well
            raise

    def _spilled(self, changes: Changes, stack: contextlib.ExitStack, bytes_of_a_page: int) -> layers.Layer:
        """In a file, in the order of pages; encrypted where the backup is."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
        place = layers.Place(disks.OsDisk(), folder, f"snapshot of {self._kept.volume}", self._kept.keyring)
        about = layers.Range(changes.from_end.last_lsn, changes.end, changes.size)
        writer = layers.LayerWriter(place, about, bytes_of_a_page)
        try:
            for change in changes.scan():
                writer.add(change)
            layer = layers.Layer(place, writer.finish(changes.shrinks))
        except BaseException:
            writer.give_up()
            raise
        stack.callback(layer.close)
        return layer

    def put(self, batches: Iterator[Batch], at: Tail) -> bool:
        """Write those of the snapshot at `at`; whether it was not told to stop. Raises StoreError."""
        writing: objects.Writing | None = None
        for batch in batches:
            if not self._going_on():
                return False
            if writing is not None and writing.size >= self._part_bytes:
                self._kept.keep(writing, snapshot_lsn=at.last_lsn)
                writing = None
            writing = writing or objects.Writing(self._kept.volume, self._kept.keyring)
            writing.add(batch)
        assert writing is not None, "there is a format, at least"
        self._kept.keep(writing, snapshot_lsn=at.last_lsn, ends=True)
        return True


def collect(kept: archive.Archive, *, retention_ms: int, now_ms: int, grace_ms: int = snapshots.GRACE_MS) -> int:
    """Delete what is older than the window and than a snapshot before it, which is read back whole first; how many objects.

    Raises StoreError. Killed between any two calls it leaves all moments of the window restorable.
    """
    until_ms = kept.latest_ms - retention_ms - grace_ms
    found = snapshots.floors(kept.snapshots, kept.chain, until_ms, references.held_lsn(kept, now_ms))
    everything = [*kept.pieces, *kept.parts]
    floor = next((each for each in found if _is_sound(kept, each)), None) if _any(everything, found) else None
    if floor is None:
        return 0
    old = snapshots.superfluous(everything, floor)
    for piece in old:
        kept.delete(piece)
    return len(old)


def _any(pieces: list[backup.Piece], found: list[Snapshot]) -> bool:
    return bool(found and snapshots.superfluous(pieces, found[0]))


def _is_sound(kept: archive.Archive, snapshot: Snapshot) -> bool:
    if kept.is_sound(snapshot.pieces):
        return True
    try:
        for _ in read(kept, snapshot):
            pass
    except objects.ObjectDamagedError as error:
        log = structlog.get_logger()
        log.error("a snapshot is damaged", action="volume.backup.damaged", volume=kept.volume, error=str(error))
        kept.distrust(snapshot.pieces)
        return False
    kept.trust(snapshot.pieces)
    return True


def tidy(folder: Path) -> None:
    """Take away what an earlier process left of its files."""
    shutil.rmtree(folder, ignore_errors=True)
