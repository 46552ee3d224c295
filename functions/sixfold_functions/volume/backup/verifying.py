"""Checking a backup: every object's sums and records, the chain that they make, what is there twice; and the copies."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.backup import archive, objects, references, source, store
from sixfold_functions.volume.backup import snapshots as making
from sixfold_functions.volume.core import backup, epoch, pages
from sixfold_functions.volume.core.backup import Batch, Piece, Snapshot


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong."""

    object: str
    """Its name below the volume's folder; empty where it is no single object."""
    problem: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found."""

    volume: str
    url: str
    objects: int
    records: int
    """In the log, each counted once."""
    snapshots: int
    """Of pages, each found to be what the one before and the log make."""
    bytes: int
    first_lsn: int
    """Of the log; above 1 where snapshots stand for what is older."""
    last_lsn: int
    latest_ms: int
    findings: list[Finding]
    keys: dict[str, int]
    """How many objects are under each data key; under no name those in plain."""
    copies: list[str] = []
    """Copies that were compared, with `--deep`."""


def _sum(batch: Batch) -> int:
    """A CRC-32 over all of a batch."""
    return zlib.crc32(msgspec.msgpack.encode(batch))


class _Sums:
    """Of batches that are in several objects."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._shared = _overlaps(pieces)
        self._known: dict[int, int] = {}

    def differs(self, batch: Batch) -> bool:
        if not any(first <= batch.first_lsn <= last for first, last in self._shared):
            return False
        return self._known.setdefault(batch.first_lsn, _sum(batch)) != _sum(batch)


def _overlaps(pieces: Iterable[Piece]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    end = 0
    for piece in sorted(pieces, key=lambda each: (each.first_lsn, each.last_lsn)):
        if piece.first_lsn <= end:
            found.append((piece.first_lsn, min(piece.last_lsn, end)))
        end = max(end, piece.last_lsn)
    return found


def verify(kept: archive.Archive) -> Verified:
    """Read every object. Raises StoreError where the store does not answer."""
    kept.refresh()
    findings: list[Finding] = []
    sound: set[Piece] = set()
    sums = _Sums(kept.pieces)
    for piece in sorted(kept.pieces):
        try:
            if any(sums.differs(batch) for batch in _batches(kept, piece)):
                findings.append(Finding(piece.name, "has other records than another object with the same LSNs"))
            else:
                sound.add(piece)
        except objects.ObjectDamagedError as error:
            findings.append(Finding(piece.name, str(error)))
        except store.ObjectMissingError:
            pass  # merged meanwhile
    found_keys: Counter[str] = Counter()
    for piece in (*kept.pieces, *kept.parts):
        with contextlib.suppress(objects.ObjectDamagedError, store.ObjectMissingError):
            envelope = kept.head(piece).envelope
            found_keys[envelope.data_key_id if envelope is not None else ""] += 1
    snapshots: list[Snapshot] = []
    for snapshot in kept.snapshots:
        problem = _wrong(kept, snapshot, snapshots[-1] if snapshots else None)
        if problem:
            findings.append(Finding(snapshot.pieces[-1].name, problem))
        else:
            snapshots.append(snapshot)
    whole = backup.chain(sound, snapshots)
    findings.extend(_broken_chain(kept, whole))
    findings.extend(_strangers(kept))
    return Verified(
        volume=kept.volume,
        url=kept.url,
        objects=len(kept.pieces) + len(kept.parts),
        records=whole.last_lsn - whole.base_lsn,
        snapshots=len(snapshots),
        bytes=sum(piece.size for piece in (*kept.pieces, *kept.parts)),
        first_lsn=whole.base_lsn + 1,
        last_lsn=whole.last_lsn,
        latest_ms=backup.latest_ms(whole, kept.quiets),
        findings=findings,
        keys=dict(found_keys),
    )


def _wrong(kept: archive.Archive, snapshot: Snapshot, before: Snapshot | None) -> str:
    """What is wrong with a snapshot; it is made once more of the one `before` and the log, where they are there."""
    try:
        found = making.read(kept, snapshot)
        if (before.lsn if before is not None else 0) < kept.chain.base_lsn or snapshot.lsn == kept.chain.base_lsn:
            for _ in found:
                pass
            return ""
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            again = making.Maker(kept, Path(folder)).batches(before, kept.point(snapshot), stack)
            if any(one != other for one, other in itertools.zip_longest(found, again)):
                return "is not what the snapshot before it and the log make"
    except store.ObjectMissingError:
        return ""  # let go meanwhile
    except (objects.ObjectDamagedError, archive.BackupError, pages.PageError) as error:
        return str(error)
    return ""


def _batches(kept: archive.Archive, piece: Piece) -> Iterator[Batch]:
    data = kept.store.read(piece.name)
    return objects.batches_of(
        data, f"{kept.url}: object {kept.volume}/{piece.name}", piece=piece, volume=kept.volume, keyring=kept.keyring
    )


def _broken_chain(kept: archive.Archive, whole: backup.Chain) -> Iterator[Finding]:
    """Gaps between objects, and objects that do not continue the one before."""
    if whole.beyond:
        following = whole.beyond[0]
        yield Finding(
            following.name,
            f"LSN {whole.last_lsn + 1} to {following.first_lsn - 1} are in no sound object before it; what is behind cannot "
            "be restored",
        )
    elif kept.chain.last_lsn > whole.last_lsn:
        yield Finding("", f"LSN {whole.last_lsn + 1} to {kept.chain.last_lsn} are in no sound object")
    for quiet in kept.quiets:
        if quiet.last_lsn > max([kept.chain.base_lsn, *(piece.last_lsn for piece in kept.pieces)]):
            yield Finding(
                quiet.name, f"says that records up to LSN {quiet.last_lsn} were taken; the newest are missing"
            )
    before: objects.Head | None = None
    for piece in whole.pieces:
        head = kept.head(piece)
        last = before.last_origin_epoch if before else kept.point(whole.base).origin_epoch if whole.base else 0
        follows = (before.last_lsn if before is not None else whole.base_lsn) + 1 == piece.first_lsn
        if follows and head.first_backlink_epoch != last:
            found = epoch.text(head.first_backlink_epoch)
            yield Finding(
                piece.name, f"follows a record of epoch {found}; the object before it ends with {epoch.text(last)}"
            )
        if before is not None and head.first_ms < before.first_ms:
            yield Finding(piece.name, "was committed before the object in front of it")
        before = head


def _strangers(kept: archive.Archive) -> Iterator[Finding]:
    for item in kept.store.names():
        known = backup.piece(item.name, 0) or backup.quiet(item.name)
        if not (known or item.name.startswith((references.CLONES, references.RESTORES, archive.KEYS))):
            yield Finding(item.name, "is no object of a backup; somebody put it there")


async def compare(
    bus: port.Bus, kept: archive.Archive, copies: Iterable[str], reader: readers.CopyReader, registry: Registry
) -> tuple[list[str], list[Finding]]:
    """Compare what each of `copies` knows to be durable with the backup, record by record: those that answered."""
    compared: list[str] = []
    findings: list[Finding] = []
    asked = source.Source(reader, registry)
    for word in await asked.words():
        if word.copy not in set(copies):
            continue
        last_lsn = min(word.settled_lsn, kept.chain.last_lsn)
        try:
            problem = await _differs(asked, kept, word.copy, last_lsn)
        except source.Unreadable as error:
            problem = f"copy {word.copy} cannot be read: {error}"
        compared.append(word.copy)
        if problem:
            findings.append(Finding("", problem))
    return sorted(compared), findings


async def _differs(asked: source.Source, kept: archive.Archive, copy: str, last_lsn: int) -> str:
    """What differs in the records that both keep; empty where nothing does."""
    lsn = kept.chain.base_lsn
    while lsn < last_lsn:
        try:
            return await _differs_above(asked, kept, copy, lsn, last_lsn)
        except readers.RecordsGoneError as gone:
            lsn = gone.floor_lsn  # older ones it has let go of, perhaps only now
    return ""


async def _differs_above(asked: source.Source, kept: archive.Archive, copy: str, lsn: int, last_lsn: int) -> str:
    ours = kept.batches(lsn + 1, last_lsn)
    async for found in asked.batches(copy, lsn + 1, last_lsn):
        for batch in found:
            mine = next(ours, None)
            theirs = (batch.first_lsn, batch.origin_epoch, batch.committed_at_ms, batch.payloads)
            if mine is None or theirs != (mine.first_lsn, mine.origin_epoch, mine.committed_at_ms, mine.payloads):
                return f"copy {copy} and the backup differ at LSN {batch.first_lsn}"
            lsn = mine.last_lsn
    if lsn < last_lsn:
        return f"copy {copy} has no record at LSN {lsn + 1}, the backup has them up to LSN {last_lsn}"
    return ""
