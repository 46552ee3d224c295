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
from sixfold_functions.volume.core.backup import Batch, Chain, Piece, Quiet, Tail
from sixfold_functions.volume.encryption.keyring import Keyring

TAKEN_BYTES_MAX = 8 * 1024 * 1024
"""An object of level 0 ends beyond this, so that little is in memory and little is sent again."""
AHEAD = 2
"""Objects that are read while one is worked on."""
TRIES = 5
"""Readings anew of a listing whose objects were merged meanwhile."""
REFERENCES = "clones/"
KEYS = "keys/"
"""Ciphertexts of the data keys; see `keys`."""
_VOLUME = re.compile(r"([a-z0-9][a-z0-9-]*)/(?:redo|quiet|clones)/")


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
        self.quiets: set[Quiet] = set()
        self.chain = Chain([], [])
        self._sound: set[Piece] = set()
        """Read back whole since they were written."""
        self._broken: set[Piece] = set()
        self._log = structlog.get_logger().bind(volume=volume, store=store.url)

    # -- what there is ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the objects. Raises StoreError."""
        items = self.store.names()
        pieces = (backup.piece(item.name, item.size) for item in items)
        quiets = (backup.quiet(item.name) for item in items)
        self.pieces = {each for each in pieces if each is not None}
        self.quiets = {each for each in quiets if each is not None}
        self._broken &= self.pieces
        self._rechain()

    def _rechain(self) -> None:
        self.chain = backup.chain(self.pieces - self._broken)

    @property
    def latest_ms(self) -> int:
        """The latest restorable time, 0 where there is none."""
        return backup.latest_ms(self.chain, self.quiets)

    def references(self) -> list[str]:
        """Volumes that read their past from here."""
        return [item.name.removeprefix(REFERENCES) for item in self.store.names(REFERENCES)]

    def refer(self, volume: str) -> None:
        """Note that `volume` reads its past from here."""
        self.store.create(REFERENCES + volume, b"")

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
                self._broken.add(last)
                self._rechain()
            else:
                return Tail(head.last_lsn, head.last_origin_epoch, head.last_ms)
        return Tail()

    # -- adding ----------------------------------------------------------------------------------------------------

    def add(self, batches: Iterable[Batch], *, bytes_max: int = TAKEN_BYTES_MAX) -> None:
        """Keep batches that follow the chain's end. Raises StoreError; what is kept then, `refresh` tells."""
        writing: objects.Writing | None = None
        for batch in batches:
            writing = writing or objects.Writing(self.volume, self.keyring)
            writing.add(batch)
            if writing.size >= bytes_max:
                self._put(writing, 0)
                writing = None
        if writing is not None:
            self._put(writing, 0)

    def _put(self, writing: objects.Writing, level: int) -> Piece:
        head, data = writing.done()
        piece = head.piece(level, len(data))
        if not self.store.create(piece.name, data):
            self._instead(piece, data)
        self.pieces.add(piece)
        self._rechain()
        return piece

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
            for batch in self._batches_of(merge.pieces):
                writing.add(batch)
            self._put(writing, merge.level)
            count += len(merge.pieces)
        self._drop_superseded()
        return count

    def _batches_of(self, pieces: Sequence[Piece]) -> Iterator[Batch]:
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
                    self._broken.add(holder)
                    self._rechain()
                    return
                self._sound.add(holder)
            self.store.delete(piece.name)
            self.pieces.discard(piece)

    # -- reading ---------------------------------------------------------------------------------------------------

    def batches(self, first_lsn: int = 1, last_lsn: int | None = None) -> Iterator[Batch]:
        """Every batch with records in `first_lsn` … `last_lsn`, once, in order, checked.

        Raises ObjectDamagedError, StoreError, and BackupError where one is missing.
        """
        lsn, tries = first_lsn - 1, 0
        before: Batch | None = None
        while last_lsn is None or lsn < last_lsn:
            wanted = [each for each in self.chain.pieces if each.last_lsn > lsn]
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

    def find(self, at_ms: int) -> restore.Point:
        """The last consistency point at `at_ms`; LSN 0 where the volume began later. Raises ObjectDamagedError."""
        for piece in reversed([each for each in self.chain.pieces if each.first_ms <= at_ms]):
            point = restore.point_at(self._checked(piece), at_ms)
            if point.last_lsn:
                return point
        return restore.Point()
