"""One volume's backup in a store: listing it, adding to it, merging its objects, reading it.

What it holds follows from listing its objects' names alone; there is no catalogue that could be lost or be wrong. Two
processes that add to one archive write the same records twice at worst.
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Iterable, Iterator, Sequence

import structlog

from sixfold import errors
from sixfold_functions.volume.backup import objects
from sixfold_functions.volume.backup.store import Below, ObjectMissingError, Store
from sixfold_functions.volume.core import backup, restore
from sixfold_functions.volume.core.backup import Batch, Chain, Piece, Quiet, Snapshot, Tail
from sixfold_functions.volume.encryption.keyring import Keyring

TAKEN_BYTES_MAX = 8 * 1024 * 1024
"""An object of level 0 ends beyond this, so that little is in memory and little is sent again."""
AHEAD = 2
"""Objects that are read while one is worked on."""
TRIES = 5
"""Readings anew of a listing whose objects were merged meanwhile."""
KEYS = "keys/"
"""Ciphertexts of the data keys; see `keys`."""
_VOLUME = re.compile(r"([a-z0-9][a-z0-9-]*)/(?:redo|quiet|pages|clones)/")


class BackupError(errors.SixfoldError):
    """A backup does not hold what is asked of it."""


def volumes(store: Store) -> list[str]:
    """Volumes that have a backup in the store."""
    found = (_VOLUME.match(item.name) for item in store.names())
    return sorted({match.group(1) for match in found if match})


class Archive:
    """The backup of `volume` in `store`. `refresh` comes first."""

    def __init__(self, store: Store, volume: str) -> None:
        self.volume = volume
        self.url = store.url
        self.whole_store = store
        self.store = Below(store, volume)
        self.keyring = Keyring()
        """Its data keys; see `keys.unlock`."""
        self.pieces: set[Piece] = set()
        self.parts: set[Piece] = set()
        """Of snapshots."""
        self.snapshots: list[Snapshot] = []
        """Whole ones, oldest first."""
        self.quiets: set[Quiet] = set()
        self.chain = Chain([], [])
        self.eras = [self.chain]
        """Ending with `chain`; see `core/backup.py`."""
        self._sound: set[Piece] = set()
        """Read back whole since they were written."""
        self._broken: set[Piece] = set()
        self._log = structlog.get_logger().bind(volume=volume, store=store.url)

    # -- what there is ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the objects. Raises StoreError."""
        items = self.store.names()
        known = {each for item in items if (each := backup.piece(item.name, item.size)) is not None}
        quiets = (backup.quiet(item.name) for item in items)
        self.pieces = {each for each in known if not each.snapshot_lsn}
        self.parts = known - self.pieces
        self.quiets = {each for each in quiets if each is not None}
        self._broken &= known
        self._sound &= known
        self._rechain()

    def _rechain(self) -> None:
        self.snapshots = backup.snapshots(self.parts - self._broken)
        self.eras = backup.eras(self.pieces - self._broken, self.snapshots)
        self.chain = self.eras[-1]

    def era(self, at_ms: int) -> Chain:
        """What can be restored to that moment."""
        return next((each for each in reversed(self.eras) if each.first_ms <= at_ms), self.eras[0])

    def whole_of(self, lsn: int) -> Chain:
        """What has the record at `lsn`, if anything has."""
        return next((each for each in reversed(self.eras) if each.base_lsn < lsn), self.eras[0])

    @property
    def latest_ms(self) -> int:
        """The latest restorable time, 0 where there is none."""
        return backup.latest_ms(self.chain, self.quiets)

    def delete(self, piece: Piece) -> None:
        """Let an object go that nobody needs. Raises StoreError."""
        self.store.delete(piece.name)
        self.pieces.discard(piece)
        self.parts.discard(piece)
        self._rechain()

    def trust(self, pieces: Iterable[Piece]) -> None:
        """They were read back whole."""
        self._sound.update(pieces)

    def is_sound(self, pieces: Iterable[Piece]) -> bool:
        """Whether all of them were."""
        return self._sound.issuperset(pieces)

    def distrust(self, pieces: Iterable[Piece]) -> None:
        """Something in them is damaged: what they hold is taken from elsewhere, if it is anywhere."""
        self._broken.update(pieces)
        self._rechain()

    def snapshot(self, lsn: int) -> Snapshot:
        """The one at `lsn`. Raises BackupError."""
        found = next((each for each in self.snapshots if each.lsn == lsn), None)
        if found is None:
            raise BackupError(
                f"{self.url}: the backup of volume {self.volume} has no whole snapshot at LSN {lsn}; see: sixfold volume "
                f"verify --from {self.url}"
            )
        return found

    def head(self, piece: Piece) -> objects.Head:
        """What an object says it holds. Raises ObjectDamagedError."""
        data = self.store.read(piece.name, 0, objects.HEAD_BYTES_GUESS)
        if (end := objects.head_bytes(data, self._where(piece))) > len(data):
            data += self.store.read(piece.name, len(data), end - len(data))
        return objects.head_of(data, self._where(piece), piece=piece, volume=self.volume)

    def _where(self, piece: Piece) -> str:
        return f"{self.url}: object {self.volume}/{piece.name}"

    def tail(self) -> Tail:
        """Where the backup ends. An object at its end that is damaged is passed over: its records are taken anew."""
        while self.chain.pieces:
            last = self.chain.pieces[-1]
            try:
                head = self.head(last)
            except objects.ObjectDamagedError as error:
                self._log.warning("the last object is damaged", action="volume.backup.damaged", error=str(error))
                self.distrust([last])
            else:
                return Tail(head.last_lsn, head.last_origin_epoch, head.last_ms)
        return self.point(self.chain.base) if self.chain.base is not None else Tail()

    def point(self, snapshot: Snapshot) -> Tail:
        """Where the log goes on behind `snapshot`. Raises ObjectDamagedError."""
        return Tail(snapshot.lsn, self.head(snapshot.pieces[-1]).last_origin_epoch, snapshot.at_ms)

    # -- adding ----------------------------------------------------------------------------------------------------

    def add(self, batches: Iterable[Batch], *, bytes_max: int = TAKEN_BYTES_MAX) -> None:
        """Keep batches that follow the chain's end. Raises StoreError; what is kept then, `refresh` tells."""
        writing: objects.Writing | None = None
        for batch in batches:
            writing = writing or objects.Writing(self.volume, self.keyring)
            writing.add(batch)
            if writing.size >= bytes_max:
                self.keep(writing)
                writing = None
        if writing is not None:
            self.keep(writing)

    def keep(self, writing: objects.Writing, level: int = 0, *, snapshot_lsn: int = 0, ends: bool = False) -> None:
        """Write an object of the log, or of a snapshot. Raises StoreError."""
        head, data = writing.done()
        piece = head.piece(level, len(data))._replace(snapshot_lsn=snapshot_lsn, ends=ends)
        if not self.store.create(piece.name, data):
            self._instead(piece, data)
        (self.parts if snapshot_lsn else self.pieces).add(piece)
        self._rechain()

    def _instead(self, piece: Piece, data: bytes) -> None:
        """Somebody wrote that object before, perhaps we ourselves; only a damaged one is replaced."""
        found = self.store.read(piece.name)
        try:
            for _ in objects.batches_of(
                found, self._where(piece), piece=piece, volume=self.volume, keyring=self.keyring
            ):
                pass
        except objects.ObjectDamagedError as error:
            self._log.warning("a damaged object is replaced", action="volume.backup.replaced", error=str(error))
            self.store.replace(piece.name, data)
            self._broken = {each for each in self._broken if each.name != piece.name}

    def note(self, quiet: Quiet) -> None:
        """Keep the word that nothing came, in place of earlier ones."""
        if quiet.last_lsn > self.chain.last_lsn or quiet.until_ms <= self.latest_ms:
            return
        self.store.create(quiet.name, b"")
        earlier = [each for each in self.quiets if each.until_ms < quiet.until_ms]
        self.quiets.add(quiet)
        for each in earlier:
            self.store.delete(each.name)
            self.quiets.discard(each)

    # -- merging ---------------------------------------------------------------------------------------------------

    def compact(self, *, retention_ms: int) -> int:
        """Merge what the ladder says, delete what larger objects have. Returns how many objects were merged."""
        count = 0
        for merge in backup.merges(self.chain, self.latest_ms, retention_ms=retention_ms):
            writing = objects.Writing(self.volume, self.keyring)
            for batch in self.objects_of(merge.pieces):
                writing.add(batch)
            self.keep(writing, merge.level)
            count += len(merge.pieces)
        self._drop_superseded()
        return count

    def objects_of(self, pieces: Sequence[Piece]) -> Iterator[Batch]:
        """The batches of some objects, each once. Raises StoreError, ObjectDamagedError."""
        lsn = pieces[0].first_lsn - 1
        for piece in pieces:
            for batch in self._checked(piece):
                if batch.last_lsn > lsn:
                    yield batch
                    lsn = batch.last_lsn

    def _checked(self, piece: Piece) -> Iterator[Batch]:
        data = self.store.read(piece.name)
        return objects.batches_of(data, self._where(piece), piece=piece, volume=self.volume, keyring=self.keyring)

    def _drop_superseded(self) -> None:
        for piece, holder in list(backup.superseded(self.pieces, self.chain)):
            if holder not in self._sound:
                try:
                    for _ in self._checked(holder):
                        pass
                except objects.ObjectDamagedError as error:
                    self._log.error("an object is damaged", action="volume.backup.damaged", error=str(error))
                    self.distrust([holder])
                    return
                self._sound.add(holder)
            self.delete(piece)

    # -- reading ---------------------------------------------------------------------------------------------------

    def batches(self, first_lsn: int | None = None, last_lsn: int | None = None) -> Iterator[Batch]:
        """Every batch of the log with records in `first_lsn` … `last_lsn`, once, in order, checked; by default all.

        Raises ObjectDamagedError, StoreError, and BackupError where one is missing.
        """
        lsn, tries = self.chain.base_lsn if first_lsn is None else first_lsn - 1, 0
        before: Batch | None = None
        while last_lsn is None or lsn < last_lsn:
            era = self.whole_of(lsn + 1)
            if lsn < era.base_lsn:
                raise BackupError(
                    f"{self.url}: the backup of volume {self.volume} has no record at LSN {lsn + 1}: what is older than its "
                    f"retention was let go, and the records begin at LSN {era.base_lsn + 1}"
                )
            wanted = [each for each in era.pieces if each.last_lsn > lsn]
            wanted = [each for each in wanted if last_lsn is None or each.first_lsn <= last_lsn]
            if not wanted and last_lsn is None:
                return
            try:
                for batch in self._read(wanted):
                    if batch.last_lsn > lsn and (last_lsn is None or batch.first_lsn <= last_lsn):
                        if before is not None:
                            list(restore.follow([batch], before))
                        yield batch
                        before, lsn, tries = batch, batch.last_lsn, 0
            except ObjectMissingError:
                tries += 1
                if tries == TRIES:
                    raise
                self.refresh()  # it was merged meanwhile
                continue
            except restore.DamagedHistoryError as error:
                raise objects.ObjectDamagedError(f"{self.url}: the backup of {self.volume}: {error}") from error
            if last_lsn is None:
                return
            if lsn < last_lsn:
                raise BackupError(
                    f"{self.url}: the backup of volume {self.volume} has no record at LSN {lsn + 1}, expected LSN "
                    f"{last_lsn} to be there; see: sixfold volume verify --from {self.url}"
                )

    def _read(self, pieces: Sequence[Piece]) -> Iterator[Batch]:
        with concurrent.futures.ThreadPoolExecutor(AHEAD + 1, thread_name_prefix="volume-backup-read") as pool:
            reading = [pool.submit(self.store.read, piece.name) for piece in pieces[:AHEAD]]
            for number, piece in enumerate(pieces):
                if number + AHEAD < len(pieces):
                    reading.append(pool.submit(self.store.read, pieces[number + AHEAD].name))
                data = reading.pop(0).result()
                yield from objects.batches_of(
                    data, self._where(piece), piece=piece, volume=self.volume, keyring=self.keyring
                )

    def block(self, piece: Piece, head: objects.Head, block: objects.Block) -> list[Batch]:
        """A part of an object. Raises ObjectDamagedError, ObjectMissingError."""
        start = objects.start_of(head) + block.position
        data, where = self.store.read(piece.name, start, block.size), self._where(piece)
        cipher = objects.cipher_of(head, self.keyring, where)
        return objects.block_of(data, block, where, cipher, head.blocks.index(block))

    def first_record(self, piece: Piece) -> bytes:
        """What an object begins with. Raises ObjectDamagedError, ObjectMissingError."""
        head = self.head(piece)
        return self.block(piece, head, head.blocks[0])[0].payloads[0]

    def find(self, at_ms: int) -> restore.Point:
        """The last consistency point at `at_ms`; LSN 0 where what is there began later. Raises ObjectDamagedError."""
        era = self.era(at_ms)
        if at_ms < era.first_ms:
            return restore.Point()
        for piece in reversed([each for each in era.pieces if each.first_ms <= at_ms]):
            point = restore.point_at(self._checked(piece), at_ms)
            if point.last_lsn:
                return point
        if era.base is None:
            return restore.Point()
        base = self.point(era.base)
        return restore.Point(base.last_lsn, base.origin_epoch)
