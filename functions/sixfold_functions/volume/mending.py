"""Mending a full segment: what is damaged is written anew from other copies, where it lay.

Damage is a range of bytes between two whole frames. Its batches are known from the index (those that are settled) and
from the core (those that are not yet), and any copy that has the same batch has the same bytes. They are put into
frames of the same places, entries and sizes, so that index and checkpoints stay right; of what else stood there (bumps,
positions) no reader has need, and it stays away as LOST. The file is copied with the new bytes in it, synced, and takes
the old one's name; then the folder is synced. A crash leaves the one or the other.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from sixfold_events import avro
from sixfold_events.event import Event
from sixfold_events.volume import VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, index, segments
from sixfold_functions.volume.core.node import StorageNode
from sixfold_functions.volume.segments import Location

NEW = ".mended"
STEP_BYTES = 262_144
SYNC_BYTES = 4 * 1024 * 1024
_ROWS = 256
_BATCHES = (frames.Kind.BATCH, frames.Kind.MENDED)


class NotMendedError(files.LogError):
    """The damage is still there; the message says why."""


class Damage(NamedTuple):
    """Bytes of a full segment in which no frame is whole."""

    segment: int
    start: int
    end: int
    first_sequence: int
    """Of the frames that stood there."""
    last_sequence: int


class Wanted(NamedTuple):
    """A batch that lay in the damage."""

    place: index.Place
    first_lsn: int
    last_lsn: int
    origins: tuple[int, int] | None
    """Its backlink epoch and origin epoch, which with its LSN say which batch it is; None where it is settled."""


class _At:
    """A file as it was when the frame at `position` came into it."""

    def __init__(self, file: disks.File, position: int) -> None:
        self._file = file
        self._position = position

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def size(self) -> int:
        return self._position


class Mender:
    """Mends the segments of one copy."""

    def __init__(
        self,
        disk: disks.Disk,
        folder: Path,
        log: segments.SegmentLog,
        rows: index.Index,
        node: StorageNode[index.Place],
        *,
        decode: Callable[[frames.Entry], Event],
        label: str,
    ) -> None:
        self.log = log
        self.rows = rows
        self.node = node
        self.disk = disk
        self.folder = folder
        self._decode = decode
        self._label = label

    def batch_at(self, place: index.Place) -> VolumeRedoBatch | None:
        """The batch at `place`; None where it is damaged, or none stands there."""
        frame = self.log.frame_at(place.frame)
        return None if frame is None else self.batch(frame, place.entry)

    def batch(self, frame: frames.Frame, number: int) -> VolumeRedoBatch | None:
        """Entry `number` of `frame`, if it is a batch."""
        if number >= len(frame.entries) or frame.entries[number].kind not in _BATCHES:
            return None
        try:
            event = self._decode(frame.entries[number])
        except avro.DecodeError:
            return None
        return event if isinstance(event, VolumeRedoBatch) else None

    # -- what was there --------------------------------------------------------------------------------------------

    def wanted(self, damage: Damage) -> Iterator[list[Wanted]]:
        """The batches that lay in `damage`, step by step. Raises LogDamagedError for a damaged row of the index."""
        for start in range(self.rows.base, len(self.rows), _ROWS):
            found = []
            for number in range(start, min(start + _ROWS, len(self.rows))):
                row = self.rows.row(max(number, self.rows.base))
                if row is None:
                    raise files.LogDamagedError(f"{self._label}: row {number} of the index is damaged")
                if _within(row.place, damage):
                    found.append(Wanted(row.place, row.first_lsn, row.last_lsn, None))
            yield found
        state = self.node.prefix.state()
        yield [
            Wanted(entry.place, entry.first_lsn, entry.last_lsn, (entry.backlink_epoch, entry.origin_epoch))
            for entry in (*state.entries, *state.staged, *state.islands)
            if _within(entry.place, damage)
        ]

    def agrees(self, wanted: Wanted, answer: VolumeReadAnswered, batch: VolumeRedoBatch) -> bool:
        """Whether `batch`, which another copy gave, is the one that lay here."""
        last_lsn = batch.first_lsn + len(batch.payloads) - 1
        if (batch.first_lsn, last_lsn) != (wanted.first_lsn, wanted.last_lsn):
            return False
        if wanted.origins is not None:
            return (batch.backlink_epoch, batch.origin_epoch) == wanted.origins
        before, after = self.rows.at(wanted.first_lsn - 1), self.rows.at(wanted.last_lsn + 1)
        previous = self.batch_at(before.place) if before is not None else None
        following = self.batch_at(after.place) if after is not None else None
        return (
            answer.status.settled_lsn >= last_lsn
            and (previous is None or previous.origin_epoch == batch.backlink_epoch)
            and (following is None or following.backlink_epoch == batch.origin_epoch)
        )

    # -- what comes in its place -----------------------------------------------------------------------------------

    def replacement(self, damage: Damage, batches: Mapping[index.Place, bytes]) -> bytes:
        """Frames for the bytes of `damage`. Raises NotMendedError where they do not fit."""
        smaller = {place: self._smallest(value) for place, value in batches.items()}
        for values in (batches, smaller):
            if (data := self._frames(damage, values)) is not None:
                return data
        raise NotMendedError(f"{self._label}: what other copies have does not fit into segment {damage.segment}")

    def _smallest(self, value: bytes) -> bytes:
        """The same batch in as few bytes as it can have been stored in: when it was first sent, with nothing durable."""
        event = self._decode(frames.Entry(frames.Kind.BATCH, -1, value))
        assert isinstance(event, VolumeRedoBatch)
        event = msgspec.structs.replace(event, epoch=event.origin_epoch, durable_lsn=0)
        return avro.codec(VolumeRedoBatch).encode(event)

    def _frames(self, damage: Damage, batches: Mapping[index.Place, bytes]) -> bytes | None:
        seal_at = self.log.file(damage.segment).size() - frames.SEAL_BYTES
        starts = {damage.start, *(place.frame.position for place in batches)}
        if damage.start <= seal_at < damage.end:
            starts.add(seal_at)
        fillers = damage.last_sequence - damage.first_sequence + 1 - len(starts)
        sequence, data = damage.first_sequence, b""
        bounds = [*sorted(starts), damage.end]
        for start, stop in itertools.pairwise(bounds):
            location = Location(damage.segment, start)
            entries = [frames.seal(start)] if start == seal_at else self._entries(location, batches)
            room = stop - start - len(self._encoded(location, sequence, entries))
            count = min(fillers, max(room, 0) // self._filler_bytes(location))
            room -= count * self._filler_bytes(location)
            if room < 0:
                return None
            for number in range(count + 1):
                at = Location(damage.segment, damage.start + len(data))
                frame = entries if not number else [frames.Entry(frames.Kind.LOST, -1, b"")]
                data += self._encoded(at, sequence, frame if number else _padded(frame, room))
                sequence += 1
            fillers -= count
        return data if not fillers and len(data) == damage.end - damage.start else None

    def _filler_bytes(self, location: Location) -> int:
        return len(self._encoded(location, 0, [frames.Entry(frames.Kind.LOST, -1, b"")]))

    def _entries(self, location: Location, batches: Mapping[index.Place, bytes]) -> list[frames.Entry]:
        here = {place.entry: value for place, value in batches.items() if place.frame == location}
        entries = [
            frames.Entry(frames.Kind.MENDED, -1, here[number])
            if number in here
            else frames.Entry(frames.Kind.LOST, -1, b"")
            for number in range(max(here, default=0) + 1)
        ]
        if location.position == 0:
            if self.log.sealing.keyring.current is not None:
                raise NotMendedError(
                    f"{self.log.path(location.segment)}: its beginning is damaged, and with it the key of what follows. "
                    f"{files.remedy(self.folder, self._label)}"
                )
            entries.insert(0, frames.Entry(frames.Kind.SEGMENT, -1, self.log.sealing.about(location.segment)))
        return entries

    def _encoded(self, location: Location, sequence: int, entries: list[frames.Entry]) -> bytes:
        at = _At(self.log.file(location.segment), location.position)
        sealed = self.log.sealing.sealed(location.segment, at, sequence, entries)  # type: ignore[arg-type]
        return frames.encode(sequence, sealed)

    def tidy(self) -> None:
        """Take away what an earlier process did not finish. Raises LogFailedError."""
        try:
            for name in self.disk.names(self.folder):
                if name.endswith(NEW):
                    self.disk.remove(self.folder / name)
        except OSError as error:
            raise files.failure(error, self.folder, self._label) from error

    # -- writing it ------------------------------------------------------------------------------------------------

    def write(self, damage: Damage, data: bytes) -> Iterator[int]:
        """Put `data` in the place of `damage`, step by step; each says how many bytes it copied.

        Raises NotMendedError (the segment is as it was), LogFailedError (the copy must end).
        """
        path = self.log.path(damage.segment)
        new = path.with_name(path.name + NEW)
        self._check_kept(damage)
        try:
            source, target = self.disk.open(path), self.disk.open(new, create=True)
            try:
                target.truncate(0)
                head = readable(source, 0, STEP_BYTES)
                for position in range(0, source.size(), STEP_BYTES):
                    target.append(readable(source, position, min(STEP_BYTES, source.size() - position)))
                    if position % SYNC_BYTES == 0:
                        target.fdatasync()
                    yield STEP_BYTES
                self.log.sealing.wrapped(damage.segment, target).write_at(damage.start, data)
                target.fdatasync()
                self._check_kept(damage)
                now = self.disk.open(path)
                changed = readable(now, 0, STEP_BYTES) != head or now.size() != source.size()
                now.close()
            finally:
                source.close()
                target.close()
            if changed:
                raise NotMendedError(f"{path} was written anew meanwhile")
            self.disk.rename(new, path)
            self.disk.sync_folder(self.folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise NotMendedError(f"{self._label}: {path} cannot be written anew: {error.strerror}") from error
            raise files.failure(error, self.folder, self._label) from error
        self.log.replaced(damage.segment)

    def _check_kept(self, damage: Damage) -> None:
        if damage.segment < self.log.first:
            raise NotMendedError(f"{self.log.path(damage.segment)} is not kept any more")


def _within(place: index.Place, damage: Damage) -> bool:
    return place.frame.segment == damage.segment and damage.start <= place.frame.position < damage.end


def _padded(entries: list[frames.Entry], room: int) -> list[frames.Entry]:
    """`entries` with `room` zeros in one of those that may have them."""
    if not room:
        return entries
    able = [number for number, entry in enumerate(entries) if entry.kind in (frames.Kind.LOST, frames.Kind.MENDED)]
    if not able:
        return entries
    number = min(able, key=lambda number: entries[number].kind is not frames.Kind.LOST)
    padded = list(entries)
    padded[number] = entries[number]._replace(data=entries[number].data + bytes(room))
    return padded


def readable(file: disks.File, position: int, size: int) -> bytes:
    """Zeros for what the disk cannot read any more."""
    try:
        return file.read_at(position, size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return (
            bytes(size)
            if size <= 4096
            else b"".join(
                readable(file, each, min(4096, position + size - each))
                for each in range(position, position + size, 4096)
            )
        )


def wanted_of(steps: Iterable[list[Wanted]]) -> list[Wanted]:
    """All of them at once."""
    return [each for step in steps for each in step]
