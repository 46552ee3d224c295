"""A whole volume in one thread: real copies on lossy disks, real writers' cores, partitions and wires in memory.

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
from tests.simulation import decoding
from tests.simulation.keys import Keys
from tests.simulation.lossy import LossyDisk
from tests.simulation.rotating import Rotation

from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files, segments
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST, Membership
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.pages.store import PageStore
from sixfold_functions.volume.sender import Parcel

if TYPE_CHECKING:
    from tests.simulation.writer import Writer


ROWS_MIN = 8  # of an index, that go together


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
        registry: Registry = decoding.REMEMBERING,
    ) -> None:
        self.rng = random.Random(seed)
        self.segment_bytes_max = segment_bytes_max
        self.registry = registry
        self.clock = StillClock()
        self.quorum = quorum
        self.unreliable = 0.0
        """Chance that a record to one copy is lost; the same again that it is overtaken, and that it comes twice."""
        self._honest_disks, self._seed, self._encrypted = honest_disks, seed, encrypted
        self.disks: dict[str, LossyDisk] = {}
        self.keys: dict[str, Keys] = {}
        """Of the copies that are encrypted at rest."""
        self.rotation = Rotation(self)
        self.partitions: dict[str, list[port.Record]] = {}
        self.dropped: dict[str, int] = {}
        """How many records retention took from the beginning of each partition."""
        self.places: dict[str, layout.Place] = {}
        """Of every copy that there ever was."""
        self.announced: list[Membership] = []
        """What writers said about the members, in its order."""
        self.removed: set[str] = set()
        """Copies that learnt that they were replaced, and ended."""
        self.burnt: set[str] = set()
        """Copies that never come back unless their replacement is undone."""
        self._emptied: set[str] = set()
        self.afresh: set[str] = set()
        """Copies that began with another one's pages: their records begin where those end."""
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
        self.announce(FIRST)

    @property
    def names(self) -> list[str]:
        """Copies that were not replaced, as far as they know."""
        return [copy for copy in self.places if copy not in self.removed]

    @property
    def down(self) -> list[str]:
        """Copies that could be started."""
        change = max(self.announced, key=lambda each: each.key).change
        self.burnt &= set(change[:1] if change is not None else ())
        return [copy for copy in self.names if copy not in self.copies and copy not in self.burnt]

    def in_zone(self, zone: str) -> list[str]:
        """The copies of a zone, or of all."""
        return [copy for copy in self.names if zone in (self.places[copy].zone, "all")]

    def announce(self, membership: Membership) -> None:
        """A writer says what it is about to do; new copies get their partitions, and start with an empty folder."""
        self.announced.append(membership)
        for place in membership.places:
            if place.copy not in self.places:
                self.places[place.copy] = place
                self.disks[place.copy] = LossyDisk(honest=self._honest_disks)
                if self._encrypted:
                    self.keys[place.copy] = Keys(self._seed, place.copy)
                self.partitions[place.copy], self.dropped[place.copy] = [], 0
                self.start(place.copy)

    def start(self, copy: str) -> None:
        made = copies.Copy(
            self.disks[copy],
            Path("/volume") / copy,
            volume="default",
            name=copy,
            registry=self.registry,
            segment_bytes_max=self.segment_bytes_max,
            keyring=self._keyring(copy),
        )
        self.copy_opening(made)
        made.pages.make, made.collector.rows_min = self.page_store, ROWS_MIN
        try:
            made.open(int(self.clock.seconds * 1000))
            if made.position == 0 and (self.dropped[copy] > 0 or copy not in layout.COPIES):
                made.join()
        except (files.LogError, copies.PromiseBrokenError) as error:
            self.broken(copy, error)
            return
        self.copy_made(made)
        self.copies[copy] = made
        if not self._ends(copy):
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
        """Until all run: one that finds itself damaged begins anew."""
        while missing := sorted(self.down):
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

    def _ends(self, copy: str) -> bool:
        """Whether the copy knows that it was replaced: then its process is over."""
        if not self.copies[copy].node.removed:
            return False
        self.kill(copy)
        self.removed.add(copy)
        self._emptied.discard(copy)
        self.flipped.discard(copy)
        self.hits["copy removed"] += 1
        return True

    def kill(self, copy: str) -> None:
        """The copy's process is gone; its machine keeps what it wrote."""
        del self.copies[copy]
        self.disks[copy].end_process()

    def lose_disk(self, copy: str) -> None:
        """The copy's folder is gone, and what it had read from its partition as well."""
        self.retain(copy, 0)
        self.copies.pop(copy, None)
        self.afresh.discard(copy)
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
            partition=self.places[name].partition,
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
                if node.collector.collect():
                    self.hits["garbage collected"] += 1
                self._ends(copy)
            except files.LogError as error:
                self.broken(copy, error)

    def deliver_all(self) -> None:
        for copy in list(self.copies):
            self.deliver(copy)

    def batches(self, copy: str, first_lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
        if first_lsn <= self.copies[copy].floor_lsn:
            return []  # they are kept as pages only
        count = last_lsn - first_lsn + 1
        request = VolumeReadRequested(
            volume="default", copy=copy, request_id="", from_lsn=first_lsn, count=count, whole_batches=True
        )
        answer = self.copies[copy].answer(request)
        if answer.error:  # its log is damaged: somebody is told of it, and has the copy begin anew
            self.broken(copy, files.LogDamagedError(answer.error))
            return []
        found = [self.registry.decode_as(VolumeRedoBatch, value) for value in answer.batches]
        return [batch for batch in found if isinstance(batch, VolumeRedoBatch)]

    def lost(self, durable: dict[int, bytes]) -> dict[int, bytes]:
        """What was acknowledged and is not in `durable`."""
        return {lsn: data for lsn, data in self.acknowledged.items() if durable.get(lsn) != data}
