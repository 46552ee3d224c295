"""One storage copy: the node's protocol on its segment log. Synchronous and without a bus.

`consume` is the whole life of a batch of records from the partition: the core decides, one frame with all that is to
be kept is written and fsynced, and only then there is an acknowledgement to send. Memory and the time to start do not
grow with the volume: settled batches are found through `index.py`, and a start reads back from the newest checkpoint.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sixfold import errors
from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeReadAnswered,
    VolumeReadRequested,
    VolumeRedoBatch,
    VolumeRestored,
)
from sixfold_functions.volume import (
    answering,
    collecting,
    files,
    floor,
    frames,
    index,
    kinds,
    promise,
    replaying,
    segments,
    sharing,
)
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.core.node import Redo, StorageNode
from sixfold_functions.volume.core.prefix import End
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.rewriting import Rewriter
from sixfold_functions.volume.mending import Mender
from sixfold_functions.volume.pages import feeding

PromiseBrokenError = promise.PromiseBrokenError
DurableLostError = promise.DurableLostError


class CopyInUseError(errors.SixfoldError):
    """Another process has this copy's folder."""


class Copy:
    """The copy `name` of `volume` in `folder`. Raises the segment log's errors; each of them ends the process."""

    def __init__(
        self,
        disk: disks.Disk,
        folder: Path,
        *,
        volume: str,
        name: str,
        registry: Registry,
        segment_bytes_max: int = segments.SEGMENT_BYTES_MAX,
        keyring: Keyring | None = None,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._registry = registry
        self._label = f"copy {name} of volume {volume}"
        self.keyring = keyring or Keyring()
        """Data keys that it holds, in memory only."""
        self._log = segments.SegmentLog(
            disk,
            folder,
            label=self._label,
            checkpoint=self._checkpoint,
            segment_bytes_max=segment_bytes_max,
            keyring=self.keyring,
        )
        self._index = index.Index(disk, folder, label=self._label)
        self._frame: tuple[segments.Location, frames.Frame] | None = None
        self._lock: disks.File | None = None
        self._promise = promise.Promise(disk, folder, label=self._label)
        self._floor = floor.Floor(disk, folder, label=self._label)
        self._afresh = False
        """Whether what lies before the segment that is begun counts no more."""
        self.node: StorageNode[index.Place] = StorageNode(volume, name)
        self.position = 0
        """Next offset to read from the copy's partition."""
        self.pages = feeding.CopyPages(disk, folder, self, label=self._label, keyring=self.keyring)
        self.shared = sharing.Shared(lambda: self.node, folder, self._label)
        self.collector = collecting.Collector(self, self._log, self._index, self._floor)

    # -- starting --------------------------------------------------------------------------------------------------

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
        self._floor.open()
        self._log.first = self._floor.segment
        self._index.open()
        if not self._replay(whole=False):
            self.node = StorageNode(self.node.volume, self.node.copy)
            self._replay(whole=True)
        self._promise.check(self.node)
        self._log.write_tail_again()
        self.pages.page_bytes = self.pages.page_bytes or self.shared.page_bytes
        self.pages.open()
        self.collector.open()
        self.node.start(max(self.node.incarnation + 1, now_ms))
        self._note(frames.Kind.STARTED)

    def _note(self, kind: frames.Kind) -> None:
        self._log.next_location()
        self._log.append([frames.Entry(kind, self.position, self.node.incarnation.to_bytes(8, "big"))])

    def _replay(self, *, whole: bool) -> bool:
        replay = replaying.Replay(
            self._log,
            self._index,
            self.node,
            self.shared,
            decode=self._decode,
            released=self._index_released,
            remedy=lambda: files.remedy(self._folder, self._label),
        )
        done = replay.run(whole=whole)
        self.position, self.pages.page_bytes = replay.position, self.pages.page_bytes or replay.page_bytes
        return done

    def _checkpoint(self) -> bytes:
        """All that is known, at the beginning of a segment."""
        if not self.node.incarnation:
            return b""  # the first segment
        self._index_released()
        self._index.sync()
        known = replaying.Checkpoint(self.node.state(), self.position, len(self._index), self.pages.page_bytes)
        return msgspec.json.encode(msgspec.structs.replace(known, afresh=self._afresh))

    def _index_released(self) -> None:
        """The core forgets what no recovery can change any more; from now on the index knows where it lies."""
        for entry in self.node.prefix.take_released():
            self._index.add(index.Row(entry.first_lsn, entry.last_lsn, entry.place))
            self.pages.settled(entry)

    def _decode(self, entry: frames.Entry) -> Redo:
        event = self._registry.decode_as(kinds.READ[entry.kind], entry.data)
        assert isinstance(event, Redo)
        return event

    def join(self) -> None:
        """The log is empty and the partition's beginning is gone: the copy must be filled before it counts."""
        self.node.join()
        self._note(frames.Kind.JOINING)

    # -- living ----------------------------------------------------------------------------------------------------

    def consume(self, records: Sequence[port.Record]) -> VolumeCopyAcknowledged:
        """Take records of the partition in order, keep what counts, fsync once. Returns what may be acknowledged."""
        location = self._log.next_location()
        entries: list[frames.Entry] = []
        for record in records:
            kind = kinds.of(record.headers)
            if kind is not None and record.value is not None:
                entry = frames.Entry(kind, record.offset, record.value)
                try:
                    event = self._decode(entry)
                except avro.DecodeError:
                    event = None  # not ours to stop for: it does not count, and a gap is filled again
                if isinstance(event, VolumeRestored):
                    self.shared.check(event)
                place = index.Place(location, len(entries))
                if event is not None and self.node.take(event, place):
                    entries.append(entry)
                    if isinstance(event, VolumeRedoBatch):
                        self.pages.remember(place, event)
                promise.check_durable(self.node, self._folder, self._label)
            self.position = record.offset + 1
        if not entries or entries[-1].offset + 1 != self.position:
            entries.append(frames.Entry(frames.Kind.POSITION, self.position, b""))
        return self._keep(entries)

    def _keep(self, entries: Sequence[frames.Entry]) -> VolumeCopyAcknowledged:
        self._log.append(entries)
        self._promise.note(self.node.log_epoch, self.node.prefix.complete_lsn)
        self._index_released()
        return self.node.acknowledgement()

    def learn(self, events: Sequence[Redo], values: Sequence[bytes] = ()) -> VolumeCopyAcknowledged | None:
        """Take what another copy or a backup gave as if it came now in the partition; fsync once. None if nothing counts.

        `values` are the events as they are stored, where the caller has them.
        """
        location = self._log.next_location()
        entries: list[frames.Entry] = []
        for number, event in enumerate(events):
            if self.node.take(event, index.Place(location, len(entries))):
                value = values[number] if values else avro.codec(type(event)).encode(event)
                entries.append(frames.Entry(kinds.KIND_OF[type(event)], self.position - 1, value))
            promise.check_durable(self.node, self._folder, self._label)
        return self._keep(entries) if entries else None

    def begin_afresh(
        self, events: Sequence[Redo], layer: str, end: End, *, page_bytes: int, clock_ms: int
    ) -> VolumeCopyAcknowledged | None:
        """Go on from the image `layer`, which another copy's pages at `end` were made into, in place of what lacks here.

        First `events`, if there are any, lead into that copy's epoch. A new segment then begins with the state at `end`,
        and is the first; until it is synced the old log counts. None where the log has more: only its pages were lost.
        """
        self.learn(events)
        self.pages.adopt(page_bytes, layer)
        self._index_released()
        if not self.node.begin_at(end, clock_ms):
            return None
        self._index.restart(len(self._index), end.last_lsn)
        self._afresh = True
        try:
            self._log.roll()
        finally:
            self._afresh = False
        self.collector.begin_with_newest()
        return self.node.acknowledgement()

    def batches(self, answer: VolumeReadAnswered) -> list[VolumeRedoBatch]:
        """The whole batches of a copy's answer. Raises avro.DecodeError."""
        decoded = [self._registry.decode_as(VolumeRedoBatch, value) for value in answer.batches]
        return [batch for batch in decoded if isinstance(batch, VolumeRedoBatch)]

    def answer(self, request: VolumeReadRequested) -> VolumeReadAnswered:
        """Answer a read from the log; it needs no quorum."""
        status = self.node.acknowledgement()
        first_lsn = max(request.from_lsn, 1)
        last_lsn = (
            status.complete_lsn if request.whole_batches else self.node.readable_lsn(request.epoch, request.durable_lsn)
        )
        last_lsn = min(last_lsn, first_lsn + request.count - 1)
        # How it is it says, damaged or not.
        gone = collecting.gone(self._label, self.floor_lsn, first_lsn, pages=bool(self.pages.page_bytes))
        places = self.places(first_lsn, last_lsn) if request.count > 0 and not gone else iter(())
        values, batches = map(self.value, places), map(self.batch, places)  # only one of both is read
        found = answering.answer(request, status, values, batches, last_lsn)
        found = answering.refused(found, gone) if request.count > 0 and gone else found
        found = msgspec.structs.replace(
            found,
            membership=self.node.membership_event,
            floor_lsn=self.floor_lsn,
            log_bytes=self._log.size,
            page_bytes=self.pages.page_bytes,
        )
        return answering.with_beginning(found, self.node.beginning) if request.whole_batches else found

    def rotate(self, key: DataKey, *, reencrypt: bool) -> None:
        """Begin a segment under `key`; so are all that follow, and with `reencrypt` older ones are to become."""
        self.keyring.use(key, reencrypt=reencrypt)
        self._log.roll()

    def segments(self) -> list[inventory.Held]:
        """Its segments, and under which data keys they are."""
        return inventory.segments(self._disk, self._folder)

    def layers(self) -> list[inventory.Held]:
        """Its layers of pages, and under which data keys they are."""
        return inventory.layers(self._disk, self._folder)

    def rewriter(self) -> Rewriter:
        """For the segments that are to be written anew."""
        return Rewriter(self._disk, self._folder, self._log, label=self._label, keyring=self.keyring)

    def mender(self) -> Mender:
        """For the segments that are damaged."""
        return Mender(
            self._disk, self._folder, self._log, self._index, self.node, decode=self._decode, label=self._label
        )

    def places(self, first_lsn: int, last_lsn: int) -> Iterator[index.Place]:
        """Of batches of the prefix with records in the range, in order. Raises LogDamagedError."""
        released = (row.place for row in self._index.between(first_lsn, last_lsn))
        waiting = (entry.place for entry in self.node.prefix.between(first_lsn, last_lsn))
        return itertools.chain(self.shared.places(first_lsn, last_lsn), released, waiting)

    @property
    def floor_lsn(self) -> int:
        """Records up to here are not kept any more."""
        return self._floor.lsn

    def value(self, place: index.Place) -> bytes:
        """The batch there as it is stored. Raises LogDamagedError."""
        if sharing.is_shared(place):
            return self.shared.value(self.shared.batch(place))
        return self._stored(place).data

    def batch(self, place: index.Place) -> VolumeRedoBatch:
        """The batch there. Raises LogDamagedError."""
        if sharing.is_shared(place):
            return self.shared.batch(place)
        event = self._decode(self._stored(place))
        assert isinstance(event, VolumeRedoBatch)
        return event

    def _stored(self, place: index.Place) -> frames.Entry:
        if self._frame is None or self._frame[0] != place.frame:
            self._frame = place.frame, self._log.read(place.frame)
        stored = self._frame[1].entries[place.entry]
        if stored.kind is frames.Kind.LOST:
            self._log.suspects.add(place.frame.segment)
            raise files.LogDamagedError(f"{self._log.path(place.frame.segment)}: a batch in it was damaged and is lost")
        return stored

    def close(self) -> None:
        """Give the folder back."""
        self.pages.close()
        self._log.close()
        self._index.close()
        self._promise.close()
        if self._lock is not None:
            self._lock.close()
