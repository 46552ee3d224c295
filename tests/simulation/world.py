"""A whole volume in one thread: six real copies on lossy disks, real writers' cores, partitions and wires in memory.

Every step is drawn from one seed. Copies keep everything in real segment logs, events are really encoded; only the
bus, the disks and time are held in hand.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from tests.simulation.lossy import LossyDisk

from sixfold.bus import port
from sixfold_events import volume as events
from sixfold_events.event import Event
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeEpochBumped, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files, segments
from sixfold_functions.volume.core import layout, recovery, repair, sequencer
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum
from sixfold_functions.volume.core.tracker import QuorumTracker
from sixfold_functions.volume.redo import RedoOutlet
from sixfold_functions.volume.sender import Parcel

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


class World:
    """Six copies, their partitions, and what was acknowledged to whom."""

    def __init__(
        self,
        seed: int,
        *,
        honest_disks: bool = True,
        quorum: Quorum = FOUR_OF_SIX,
        segment_bytes_max: int = segments.SEGMENT_BYTES_MAX,
    ) -> None:
        self.rng = random.Random(seed)
        self.segment_bytes_max = segment_bytes_max
        self.clock = StillClock()
        self.quorum = quorum
        self.unreliable = 0.0
        """Chance that a record to one copy is lost; the same again that it is overtaken, and that it comes twice."""
        self.disks = {copy: LossyDisk(honest=honest_disks) for copy in layout.COPIES}
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
        self.told: Callable[[Writer, int, bytes], None] = lambda writer, lsn, data: None
        """Called for each record of which a client is told."""
        self.copy_made: Callable[[copies.Copy], None] = lambda copy: None
        self.writer_made: Callable[[Writer], None] = lambda writer: None
        """Called with each that begins to live: a test may cripple it."""
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
        )
        try:
            made.open(int(self.clock.seconds * 1000))
        except (files.LogError, copies.PromiseBrokenError):
            self._damaged(copy)
            return
        if made.position == 0 and self.dropped[copy] > 0:
            made.join()
        self.copy_made(made)
        self.copies[copy] = made
        self.acks.append(made.node.acknowledgement())

    def flip(self, copy: str) -> None:
        """A bit of what a copy has on its disk is another one from now on."""
        disk = self.disks[copy]
        written = [path for path in disk.segments() if disk.size(path)]
        if written:
            path = self.rng.choice(written)
            disk.damage(path, self.rng.randrange(disk.size(path)))
            self.flipped.add(copy)
            self.hits["bit flipped"] += 1

    def _damaged(self, copy: str) -> None:
        """The copy's process ended, as its log is damaged: it gets an empty folder."""
        if copy not in self.flipped:
            raise
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
            except files.LogError:
                self._damaged(copy)

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
        try:
            answer = self.copies[copy].answer(request)
        except files.LogError:
            self._damaged(copy)
            return []
        found = [REGISTRY.decode_as(VolumeRedoBatch, value) for value in answer.batches]
        return [batch for batch in found if isinstance(batch, VolumeRedoBatch)]

    def lost(self, durable: dict[int, bytes]) -> dict[int, bytes]:
        """What was acknowledged and is not in `durable`."""
        return {lsn: data for lsn, data in self.acknowledged.items() if durable.get(lsn) != data}


class Writer:
    """A writer's cores in a world: what `VolumeWriter` does with them, without a loop."""

    def __init__(self, world: World, name: str, *, skew_s: float = 0.0, clock_rate: float = 1.0) -> None:
        self.world = world
        self.name = name
        self._skew_s = skew_s
        self._clock_rate = clock_rate
        self.recovery = recovery.Recovery(6, world.rng.getrandbits(32), grace_s=1.0, quorum=world.quorum)
        self.tracker = QuorumTracker(world.quorum)
        self.sequencer: sequencer.Sequencer[None] = sequencer.Sequencer(
            sequencer.Limits(batch_records_max=4, ahead_records_max=40)
        )
        self.plan = repair.RepairPlan(patience_s=0.1, retry_s=0.5, behind_s=0.5, silence_s_max=1.0)
        self.outlet = RedoOutlet(
            world, self.recovery, self.sequencer, volume="default", source=f"/{name}", clock=world.clock
        )
        self.read = len(world.acks)
        self.count = 0
        world.newest_writer = name
        world.writer_made(self)
        self.begin(0)

    @property
    def established(self) -> bool:
        return self.recovery.state is recovery.State.ESTABLISHED

    @property
    def superseded(self) -> bool:
        return self.recovery.state is recovery.State.SUPERSEDED

    @property
    def now(self) -> float:
        """By the writer's own clock."""
        return self.world.clock.seconds * self._clock_rate + self._skew_s

    def begin(self, newest: int) -> None:
        epoch = self.recovery.begin(newest)
        self.tracker.begin(epoch)
        self.begun_at = self.bumped_at = self.now
        self.bump()

    def bump(self) -> None:
        self.bumped_at = self.now
        self.outlet.send(VolumeEpochBumped(volume="default", epoch=self.recovery.epoch, writer=self.name))

    def listen(self, count: int = 1 << 30) -> None:
        """Take up to `count` acknowledgements, and do what follows from them."""
        for ack in self.world.acks[self.read : self.read + count]:
            self.read += 1
            self.tracker.on_ack(ack)
            self.recovery.on_ack(ack, self.now)
            if self.recovery.state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
                self.plan.on_ack(self.tracker.copies[ack.copy], self.recovery.epoch, self.now)
        self.act()

    def act(self) -> None:
        world = self.world
        self.recovery.on_time(self.now)
        state = self.recovery.state
        if state in (recovery.State.BUMPING, recovery.State.FILLING) and self.now - self.bumped_at > 1.0:
            self.bump()
        if self.world.newest_writer != self.name and state is not recovery.State.ESTABLISHED:
            return  # two that outbid each other for ever are another test's
        if state is recovery.State.IDLE or (state is recovery.State.FILLING and self.now - self.begun_at > 8.0):
            self.begin(0)
        elif state is recovery.State.TRUNCATING:
            self.outlet.send(self.outlet.truncation(40))
            self.recovery.truncation_sent()
        elif state is recovery.State.FILLING and self.tracker.established():
            assert self.recovery.beginning is not None
            source = self.recovery.beginning.source
            self.sequencer.begin(self.recovery.epoch, source.consistent_lsn, source.consistent_epoch)
            self.recovery.write_quorum()
        if self.recovery.state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
            self.fill()
        if self.established:
            for append in self.sequencer.on_durable(self.tracker.durable_lsn):
                for index, data in enumerate(append.records):
                    world.told(self, append.first_lsn + index, data)
                    world.acknowledged[append.first_lsn + index] = data

    def fill(self) -> None:
        world = self.world
        for fill in self.plan.due(self.tracker.copies, self.now):
            if fill.truncation:
                self.outlet.send(self.outlet.truncation(40), fill.copy)
            if fill.admission:
                self.outlet.send(self.outlet.admission(self.tracker.copies[fill.copy]), fill.copy)
            if not fill.last_lsn:
                continue
            batches = self.outlet.from_memory(fill.first_lsn, fill.last_lsn) if self.established else []
            for ack in [] if batches else sorted(self.tracker.copies.values(), key=lambda ack: -ack.complete_lsn):
                current = ack.epoch == ack.log_epoch == self.tracker.epoch
                if current and ack.copy in world.copies and ack.copy != fill.copy:
                    batches = world.batches(ack.copy, fill.first_lsn, fill.last_lsn)
                    break
            for batch in batches:
                self.outlet.again(batch, fill.copy)
                self.plan.sent(fill.copy, batch.first_lsn + len(batch.payloads) - 1)

    def append(self, records: int = 1) -> None:
        data = [f"{self.name}-{self.count + index}".encode() for index in range(records)]
        self.count += records
        self.sequencer.offer(sequencer.Append(data, None))
        self.pump()

    def pump(self) -> None:
        while self.established and (batch := self.sequencer.next_batch()) is not None:
            self.outlet.send(self.outlet.batch(batch))

    def tell(self) -> None:
        if self.established:
            self.outlet.send(self.outlet.nothing_new())

    def durable(self) -> dict[int, bytes]:
        """The volume as this writer would read it: durable records, from a copy of its epoch."""
        found: dict[int, bytes] = {}
        last_lsn = self.tracker.durable_lsn
        for copy in self.tracker.current():
            if copy in self.world.copies and self.tracker.copies[copy].complete_lsn >= last_lsn:
                lsn = 1
                while lsn <= last_lsn and (batches := self.world.batches(copy, lsn, last_lsn)):
                    for batch in batches:
                        for index, data in enumerate(batch.payloads):
                            found[batch.first_lsn + index] = data
                        lsn = batch.first_lsn + len(batch.payloads)
                if copy in self.world.copies:  # else it was found to be damaged
                    return {lsn: data for lsn, data in found.items() if lsn <= last_lsn}
        return {}


def settle(world: World, writer: Writer, *, rounds: int = 60) -> None:
    """Everything is up and delivers until the writer has the volume and all copies are level."""
    for _ in range(rounds):
        world.deliver_all()
        writer.listen()
        writer.pump()
        writer.tell()
        world.clock.seconds += 0.3
    assert writer.established, (writer.recovery.state, writer.tracker.copies)
