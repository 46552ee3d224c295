"""One storage copy: the node's protocol on its segment log. Synchronous and without a bus.

`consume` is the whole life of a batch of records from the partition: the core decides, one frame with all that is to
be kept is written and fsynced, and only then there is an acknowledgement to send.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold import errors
from sixfold.bus import port
from sixfold_events import Event, avro
from sixfold_events.registry import Registry
from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeEpochBumped,
    VolumeRangeTruncated,
    VolumeReadAnswered,
    VolumeReadRequested,
    VolumeRedoBatch,
)
from sixfold_functions.volume import answering, frames, segments
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.core.node import Redo, StorageNode

_PROMISE = struct.Struct(">QQI")
_CLASS: dict[frames.Kind, type[Event]] = {
    frames.Kind.BATCH: VolumeRedoBatch,
    frames.Kind.BUMP: VolumeEpochBumped,
    frames.Kind.TRUNCATION: VolumeRangeTruncated,
}
_KIND = {cls.__event__.type.encode(): kind for kind, cls in _CLASS.items()}


class CopyInUseError(errors.SixfoldError):
    """Another process has this copy's folder."""


class PromiseBrokenError(errors.SixfoldError):
    """The log ends before what the copy had acknowledged."""


class Place(NamedTuple):
    """Where a batch lies: its frame, and which entry of it."""

    frame: segments.Location
    entry: int


class Copy:
    """The copy `name` of `volume` in `folder`. Raises the segment log's errors; each of them ends the process."""

    def __init__(self, disk: disks.Disk, folder: Path, *, volume: str, name: str, registry: Registry) -> None:
        self._disk = disk
        self._folder = folder
        self._registry = registry
        self._label = f"copy {name} of volume {volume}"
        self._log = segments.SegmentLog(disk, folder, label=self._label)
        self._lock: disks.File | None = None
        self._promise: disks.File | None = None
        self.node: StorageNode[Place] = StorageNode(volume, name)
        self.position = 0
        """Next offset to read from the copy's partition."""

    def open(self, now_ms: int) -> None:
        """Take the folder, read the log back, note the start at `now_ms`. Then the copy may acknowledge.

        The incarnation is a time so that a copy that lost its folder is still a later one than it was before.
        """
        self._disk.make_folder(self._folder)
        try:
            self._lock = self._disk.lock(self._folder / "lock")
        except BlockingIOError:
            raise CopyInUseError(
                f"{self._label}: another process has {self._folder}; stop it first (sixfold volume stop)"
            ) from None
        for location, frame in self._log.replay():
            for index, entry in enumerate(frame.entries):
                self._replay(Place(location, index), entry)
        self._check_promise()
        self.node.start(max(self.node.incarnation + 1, now_ms))
        self._log.next_location()
        started = self.node.incarnation.to_bytes(8, "big")
        self._log.append([frames.Entry(frames.Kind.STARTED, self.position, started)])

    def _replay(self, place: Place, entry: frames.Entry) -> None:
        if entry.kind is frames.Kind.STARTED:
            self.node.start(int.from_bytes(entry.data, "big"))
        elif entry.kind is frames.Kind.POSITION:
            self.position = entry.offset
        elif entry.kind in _CLASS:
            self.node.take(self._decode(entry), place)
            self.position = entry.offset + 1

    def _decode(self, entry: frames.Entry) -> Redo:
        event = self._registry.decode_as(_CLASS[entry.kind], entry.data)
        assert isinstance(event, Redo)
        return event

    def _check_promise(self) -> None:
        """A torn tail is cut without a word, so bit rot in the last frame needs another witness."""
        self._promise = self._disk.open(self._folder / "acknowledged", create=True)
        data = self._promise.read_at(0, _PROMISE.size)
        if len(data) < _PROMISE.size:
            return
        log_epoch, complete_lsn, check = _PROMISE.unpack(data)
        if zlib.crc32(data[:-4]) != check:
            return  # not synced on purpose, so it may be torn itself
        node = self.node
        if (node.log_epoch, node.prefix.complete_lsn) < (log_epoch, complete_lsn) and node.epoch <= log_epoch:
            raise PromiseBrokenError(
                f"{self._label}: its log ends at LSN {node.prefix.complete_lsn}, but it had acknowledged LSN "
                f"{complete_lsn}: the disk did not keep what was fsynced. Look at the disk, then move {self._folder} "
                "away and start it again: it reads its partition anew and gets the rest from the other copies"
            )

    def consume(self, records: Sequence[port.Record]) -> VolumeCopyAcknowledged:
        """Take records of the partition in order, keep what counts, fsync once. Returns what may be acknowledged."""
        location = self._log.next_location()
        entries: list[frames.Entry] = []
        for record in records:
            if record.offset < self.position:
                continue
            kind = next((_KIND.get(value) for name, value in record.headers if name == "ce_type"), None)
            if kind is not None and record.value is not None:
                entry = frames.Entry(kind, record.offset, record.value)
                try:
                    event = self._decode(entry)
                except avro.DecodeError:
                    event = None  # not ours to stop for: it does not count, and a gap is filled again
                if event is not None and self.node.take(event, Place(location, len(entries))):
                    entries.append(entry)
            self.position = record.offset + 1
        if not entries or entries[-1].offset + 1 != self.position:
            entries.append(frames.Entry(frames.Kind.POSITION, self.position, b""))
        self._log.append(entries)
        self._note_promise()
        return self.node.acknowledgement()

    def _note_promise(self) -> None:
        if self._promise is not None:
            data = _PROMISE.pack(self.node.log_epoch, self.node.prefix.complete_lsn, 0)[:-4]
            self._promise.write_at(0, data + zlib.crc32(data).to_bytes(4, "big"))

    def answer(self, request: VolumeReadRequested) -> VolumeReadAnswered:
        """Answer a read from the log; it needs no quorum."""
        status = self.node.acknowledgement()
        first_lsn = max(request.from_lsn, 1)
        last_lsn = (
            status.complete_lsn if request.whole_batches else self.node.readable_lsn(request.epoch, request.durable_lsn)
        )
        last_lsn = min(last_lsn, first_lsn + request.count - 1)
        return answering.answer(request, status, self._read(first_lsn, last_lsn), last_lsn)

    def _read(self, first_lsn: int, last_lsn: int) -> Iterator[answering.Stored]:
        frame: frames.Frame | None = None
        location: segments.Location | None = None
        for entry in self.node.prefix.between(first_lsn, last_lsn):
            if frame is None or entry.place.frame != location:
                location, frame = entry.place.frame, self._log.read(entry.place.frame)
            stored = frame.entries[entry.place.entry]
            event = self._decode(stored)
            assert isinstance(event, VolumeRedoBatch)
            yield answering.Stored(event.first_lsn, stored.data, event.payloads)

    def close(self) -> None:
        """Give the folder back."""
        self._log.close()
        for file in (self._promise, self._lock):
            if file is not None:
                file.close()
