"""A whole volume in one thread: six real copies on lossy disks, real writers' cores, partitions and wires in memory.

Every step is drawn from one seed. Copies keep everything in real segment logs, events are really encoded; only the
bus, the disks and time are held in hand.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tests.simulation.keys import Keys
from tests.simulation.lossy import LossyDisk
from tests.simulation.rotating import Rotation

from sixfold.bus import port
from sixfold_events import volume as events
from sixfold_events.event import Event
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files, segments
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.pages.store import PageStore
from sixfold_functions.volume.sender import Parcel

if TYPE_CHECKING:
    from tests.simulation.writer import Writer

REGISTRY = Registry(
    value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event) and value != Event
)


class StillClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps in a world without a loop")


def named(writer: Writer, count: int) -> list[bytes]:
    """Plain records that tell whose they are."""
    return [f"{writer.name}-{writer.count + index}".encode() for index in range(count)]


class World:
    """Six copies, their partitions, and what was acknowledged to whom."""

    def __init__(
        self,
        seed: int,
        *,
        honest_disks: bool = True,
        quorum: Quorum = FOUR_OF_SIX,
        segment_bytes_max: int = segments.SEGMENT_BYTES_MAX,
        encrypted: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.segment_bytes_max = segment_bytes_max
        self.clock = StillClock()
        self.quorum = quorum
        self.unreliable = 0.0
        """Chance that a record to one copy is lost; the same again that it is overtaken, and that it comes twice."""
        self.disks = {copy: LossyDisk(honest=honest_disks) for copy in layout.COPIES}
        self.keys = {copy: Keys(seed, copy) for copy in layout.COPIES} if encrypted else {}
        """Of the copies that are encrypted at rest."""
        self.rotation = Rotation(self)
        self.partitions: dict[str, list[port.Record]] = {copy: [] for copy in layout.COPIES}
        self.dropped = dict.fromkeys(layout.COPIES, 0)
        """How many records retention took from the beginning of each partition."""
        self._emptied: set[str] = set()
        self.flipped: set[str] = set()
        """Copies of which a flipped bit was not found yet."""
        self.copies: dict[str, copies.Copy] = {}
        self.acks: list[VolumeCopyAcknowledged] = []
        self.acknowledged: dict[int, bytes] = {}
        """What clients were told is durable, by LSN."""
        self.ends: set[tuple[int, bytes]] = set()
        """The last record of each append, with its LSN: where a replica may stand."""
        self.told: Callable[[Writer, int, bytes], None] = lambda writer, lsn, data: None
        """Called for each record of which a client is told."""
        self.copy_made: Callable[[copies.Copy], None] = lambda copy: None
        self.copy_opening: Callable[[copies.Copy], None] = lambda copy: None
        self.writer_made: Callable[[Writer], None] = lambda writer: None
        """Called with each that begins to live: a test may cripple it."""
        self.payloads: Callable[[Writer, int], list[bytes]] = named
        """What a writer's next records are."""
        self.page_store: Callable[..., PageStore] = PageStore
        self.hits: Counter[str] = Counter()
        """How often each fault happened."""
        self.newest_writer = ""
        for copy in layout.COPIES:
            self.start(copy)

    def start(self, copy: str) -> None:
        made = copies.Copy(
            self.disks[copy],
            Path("/volume") / copy,
            volume="default",
            name=copy,
            registry=REGISTRY,
            segment_bytes_max=self.segment_bytes_max,
            keyring=self._keyring(copy),
        )
        self.copy_opening(made)
        made.pages.make = self.page_store
        try:
            made.open(int(self.clock.seconds * 1000))
        except (files.LogError, copies.PromiseBrokenError) as error:
            self.broken(copy, error)
            return
        if made.position == 0 and self.dropped[copy] > 0:
            made.join()
        self.copy_made(made)
        self.copies[copy] = made
        self.acks.append(made.node.acknowledgement())

    def _keyring(self, copy: str) -> Keyring | None:
        """As a start gets it from the key service: what its folder needs, and what new segments are to have."""
        if copy not in self.keys:
            return None
        read_bytes = self.disks[copy].read_bytes
        held = inventory.segments(self.disks[copy], Path("/volume") / copy)
        self.disks[copy].read_bytes = read_bytes  # counts what a copy reads
        return self.keys[copy].keyring(reencrypt=bool(held) and held[-1].reencrypt)

    def start_all(self) -> None:
        """Until all six run: one that finds itself damaged begins anew."""
        while missing := sorted(set(layout.COPIES) - set(self.copies)):
            for copy in missing:
                self.start(copy)

    def flip(self, copy: str) -> None:
        """A bit of what a copy has on its disk is another one from now on."""
        disk = self.disks[copy]
        written = [path for path in disk.segments() if disk.size(path)]
        if written:
            path = self.rng.choice(written)
            disk.damage(path, self.rng.randrange(disk.size(path)))
            self.flipped.add(copy)
            self.hits["bit flipped"] += 1

    def fail_disk(self, copy: str) -> None:
        """One of the next writes of a copy that runs finds no room, or one of its next syncs fails."""
        disk = self.disks[copy]
        fault = self.rng.choice(["sync failed (EIO)", "sync failed (ENOSPC)", "disk full"])
        self.hits[fault] += 1
        if fault == "disk full":
            disk.room_bytes = self.rng.choice([0, 1, 50, 500])
        else:
            number = errno.EIO if "EIO" in fault else errno.ENOSPC
            disk.sync_errors = [*[None] * self.rng.choice([0, 0, 1, 2]), OSError(number, os.strerror(number))]

    def broken(self, copy: str, error: Exception) -> None:
        """The copy's process ended with `error`: its log is damaged, so it gets an empty folder, or its disk failed."""
        if isinstance(error, files.LogFailedError):
            self.hits["process ended by its disk"] += 1
            self.copies.pop(copy, None)
            self.disks[copy].end_process()
            return
        if copy not in self.flipped:
            raise error
        self.hits["flipped bit found"] += 1
        self.lose_disk(copy)

    def lose_power(self, copy: str) -> None:
        self.copies.pop(copy, None)
        self.disks[copy].lose_power(self.rng)

    def kill(self, copy: str) -> None:
        """The copy's process is gone; its machine keeps what it wrote."""
        del self.copies[copy]
        self.disks[copy].end_process()

    def lose_disk(self, copy: str) -> None:
        """The copy's folder is gone, and what it had read from its partition as well."""
        self.retain(copy, 0)
        self.copies.pop(copy, None)
        self.disks[copy] = LossyDisk()
        self._emptied.add(copy)
        self.flipped.discard(copy)

    def retain(self, copy: str, count: int) -> None:
        """The partition keeps its last `count` records."""
        excess = max(len(self.partitions[copy]) - count, 0)
        del self.partitions[copy][:excess]
        self.dropped[copy] += excess

    def joining(self) -> set[str]:
        """Copies without all that they once acknowledged."""
        self._emptied -= {name for name, copy in self.copies.items() if not copy.node.joining}
        return set(self._emptied)

    def send(self, parcel: Parcel, names: Iterable[str]) -> None:
        """As `Sender.send`: into the partitions of the copies."""
        for name in names:
            fate = self.rng.random()
            if fate < self.unreliable:
                self.hits["record lost"] += 1  # by the broker, or a full lane dropped it
                continue
            self._store(name, parcel, late=fate < 2 * self.unreliable)
            if fate > 1 - self.unreliable:
                self.hits["record twice"] += 1
                self._store(name, parcel, late=False)

    def _store(self, name: str, parcel: Parcel, *, late: bool) -> None:
        log, dropped = self.partitions[name], self.dropped[name]
        record = port.Record(
            topic="volume.redo",
            partition=layout.PARTITION[name],
            offset=dropped + len(log),
            timestamp_ms=0,
            key=b"default",
            value=parcel.value,
            headers=parcel.headers,
        )
        log.append(record)
        unread = name not in self.copies or self.copies[name].position < dropped + len(log) - 1
        if late and unread and len(log) > 1:
            # Two calls overtook each other.
            self.hits["record overtaken"] += 1
            before = log[-2]
            log[-2] = msgspec.structs.replace(record, offset=before.offset)
            log[-1] = msgspec.structs.replace(before, offset=record.offset)

    def lose_tail(self, copy: str) -> None:
        """The copy's broker crashes and forgets what the copy has not read."""
        if copy in self.copies:
            log, read = self.partitions[copy], max(self.copies[copy].position - self.dropped[copy], 0)
            self.hits["tail of a partition lost"] += len(log) > read
            del log[read:]

    def deliver(self, copy: str, count: int = 1 << 30) -> None:
        """The copy reads its next records, fsyncs, acknowledges."""
        node = self.copies[copy]
        first = max(node.position - self.dropped[copy], 0)
        records = self.partitions[copy][first : first + count]
        if records:
            try:
                self.acks.append(node.consume(records))
                for _ in range(3):
                    node.pages.work()
            except files.LogError as error:
                self.broken(copy, error)

    def deliver_all(self) -> None:
        for copy in list(self.copies):
            self.deliver(copy)

    def batches(self, copy: str, first_lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
        request = VolumeReadRequested(
            volume="default",
            copy=copy,
            request_id="",
            from_lsn=first_lsn,
            count=last_lsn - first_lsn + 1,
            whole_batches=True,
        )
        answer = self.copies[copy].answer(request)
        if answer.error:  # its log is damaged: somebody is told of it, and has the copy begin anew
            self.broken(copy, files.LogDamagedError(answer.error))
            return []
        found = [REGISTRY.decode_as(VolumeRedoBatch, value) for value in answer.batches]
        return [batch for batch in found if isinstance(batch, VolumeRedoBatch)]

    def lost(self, durable: dict[int, bytes]) -> dict[int, bytes]:
        """What was acknowledged and is not in `durable`."""
        return {lsn: data for lsn, data in self.acknowledged.items() if durable.get(lsn) != data}
