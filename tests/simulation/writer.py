"""A writer's cores in a simulated world."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.simulation.gossip import MUCH
from tests.simulation.world import World

from sixfold_events.volume import VolumeEpochBumped
from sixfold_functions.volume.core import changing, recovery, repair, sequencer
from sixfold_functions.volume.core.membership import Membership, MembershipError, event_of, of_event
from sixfold_functions.volume.core.tracker import QuorumTracker
from sixfold_functions.volume.redo import RedoOutlet


class _OwnClock:
    """A writer's clock, as wrong as it is."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def now(self) -> float:
        return self._writer.now

    def monotonic(self) -> float:
        return self._writer.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps in a world without a loop")


class Writer:
    """A writer's cores in a world: what `VolumeWriter` does with them, without a loop."""

    def __init__(
        self, world: World, name: str, *, skew_s: float = 0.0, clock_rate: float = 1.0, hint: Membership | None = None
    ) -> None:
        self.world = world
        self.name = name
        self._skew_s = skew_s
        self._clock_rate = clock_rate
        hint = hint or max(world.announced, key=lambda each: each.key)
        self.recovery = recovery.Recovery(world.rng.getrandbits(32), grace_s=1.0, membership=hint, quorum=world.quorum)
        self.tracker = QuorumTracker(world.quorum, membership=hint)
        self.telling = changing.Telling(retry_s=0.5, silence_s_max=1.0)
        self.planned: Callable[[Membership], Membership] = lambda membership: membership
        """Called with each membership before it is carried out: a test may plan another one."""
        self.sequencer: sequencer.Sequencer[None] = sequencer.Sequencer(
            sequencer.Limits(batch_records_max=4, ahead_records_max=40)
        )
        self.plan = repair.RepairPlan(
            patience_s=0.1, retry_s=0.5, behind_s=0.5, silence_s_max=1.0, much_records=MUCH, much_s=0.6
        )
        self.outlet = RedoOutlet(
            world, self.recovery, self.sequencer, volume="default", source=f"/{name}", clock=_OwnClock(self)
        )
        self.read = len(world.acks)
        self.count = 0
        self.acknowledged = 0
        """Records of which its clients were told."""
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
            if ack.copy not in self.tracker.copies:
                self.telling.on_other(ack)
            elif self.recovery.state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
                self.plan.on_ack(self.tracker.copies[ack.copy], self.recovery.epoch, self.now)
        self.act()

    # -- members ---------------------------------------------------------------------------------------------------

    @property
    def membership(self) -> Membership:
        """The newest that it knows."""
        return self.recovery.membership

    def _use(self, membership: Membership) -> None:
        self.recovery.membership = membership
        self.tracker.use(membership)
        self.plan.keep(membership.members)

    def _say(self, copies: Iterable[str]) -> None:
        if names := [copy for copy in copies if copy in self.world.places]:
            self.outlet.send(event_of(self.membership, "default"), *names)

    def _learn(self) -> None:
        for copy in self.recovery.newer():
            asked = self.world.copies.get(copy)
            told = asked.node.membership_event if asked is not None else None
            if told is None:
                self.recovery.reports.pop(copy)
            elif self.recovery.learn(of_event(told), self.now):
                self.world.hits["membership learnt"] += 1
                self._use(of_event(told))
                self.bump()
                return

    def _take(self, membership: Membership) -> None:
        told = dict.fromkeys((*self.membership.members, *changing.to_be_told(membership)))
        for copy, ack in self.tracker.copies.items():
            if copy not in membership.members:
                self.telling.on_other(ack)
        self.world.announce(membership)
        self._use(membership)
        self.tracker.advance()
        self._say(told)

    def replace(self, copy: str) -> bool:
        """The first step. False where it cannot begin."""
        taken = [place for each in self.world.announced for place in each.places]
        return self._change(lambda: self.membership.replacing(copy, taken))

    def undo(self) -> bool:
        """Back from a replacement that is not complete. False where there is none."""
        return self._change(lambda: self.membership.undone())

    def _change(self, make: Callable[[], Membership]) -> bool:
        if not self.established:
            return False
        try:
            membership = make()
        except MembershipError:
            return False
        self._take(self.planned(membership))
        return True

    def _go_on(self) -> None:
        while (following := changing.following(self.tracker)) is not None:
            self.world.hits["copy replaced"] += following.settled and following.version > 0 and not following.change
            self._take(self.planned(following))

    # -- writing ---------------------------------------------------------------------------------------------------

    def act(self) -> None:
        self.recovery.on_time(self.now)
        self._learn()
        state = self.recovery.state
        if state in (recovery.State.BUMPING, recovery.State.FILLING) and self.now - self.bumped_at > 1.0:
            self.bump()
        if self.world.newest_writer != self.name and state is not recovery.State.ESTABLISHED:
            return  # two that outbid each other for ever are another test's
        if state is recovery.State.IDLE or (state is recovery.State.FILLING and self.now - self.begun_at > 8.0):
            self.begin(0)
        elif state is recovery.State.TRUNCATING:
            self.truncate()
        elif state is recovery.State.FILLING and self.tracker.established():
            self.establish()
        if self.recovery.state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
            self.fill()
            self._say(self.telling.due(self.tracker, self.now))
        if self.established:
            self._go_on()
            self.advance()

    def truncate(self) -> None:
        """All is gathered that is to be."""
        self.outlet.send(self.outlet.truncation(40))
        self.recovery.truncation_sent()
        self._use(self.membership.of_epoch(self.recovery.epoch))
        if self.membership.version:
            self._say(changing.to_be_told(self.membership))

    def establish(self) -> None:
        """A write quorum has what the epoch begins with."""
        beginning = self.recovery.beginning
        assert beginning is not None
        self.sequencer.begin(self.recovery.epoch, beginning.durable_lsn, beginning.last_epoch, self.recovery.clock_ms())
        self.recovery.write_quorum()

    def advance(self) -> None:
        """What is durable is told to those who wait for it."""
        self.durable_up_to(self.tracker.durable_lsn)

    def durable_up_to(self, lsn: int) -> None:
        for append in self.sequencer.on_durable(lsn):
            for index, data in enumerate(append.records):
                self.acknowledged += 1
                self.world.told(self, append.first_lsn + index, data)
                self.world.acknowledged[append.first_lsn + index] = data

    def fill(self) -> None:
        world = self.world
        for fill in self.plan.due(self.tracker.copies, self.now):
            if fill.truncation:
                self.outlet.send(self.outlet.truncation(40), fill.copy)
            if fill.admission and not changing.lacks(self.tracker.copies[fill.copy], self.membership):
                self.outlet.send(self.outlet.admission(self.tracker.copies[fill.copy]), fill.copy)
            if not fill.last_lsn:
                continue
            batches = self.outlet.from_memory(fill.first_lsn, fill.last_lsn) if self.established else []
            for ack in [] if batches else sorted(self.tracker.copies.values(), key=lambda ack: -ack.complete_lsn):
                current = ack.epoch == ack.log_epoch == self.tracker.epoch
                if current and ack.copy != fill.copy and self._has_not_moved_on(ack.copy):
                    batches = world.batches(ack.copy, fill.first_lsn, fill.last_lsn)
                    if batches:
                        break
            for batch in batches:
                self.outlet.again(batch, fill.copy)
                self.plan.sent(fill.copy, batch.first_lsn + len(batch.payloads) - 1, self.now)

    def _has_not_moved_on(self, copy: str) -> bool:
        """A copy may obey another writer by now, so that its records need not be of this epoch's volume."""
        here = self.world.copies.get(copy)
        return here is not None and here.node.epoch == here.node.log_epoch == self.recovery.epoch

    def append(self, records: int = 1) -> None:
        data = self.world.payloads(self, records)
        self.count += records
        self.sequencer.offer(sequencer.Append(data, None))
        self.pump()

    def pump(self) -> None:
        while self.established and (batch := self.sequencer.next_batch(int(self.now * 1000))) is not None:
            for point in batch.consistency_points:
                self.world.ends.add((point, batch.payloads[point - batch.first_lsn]))
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
                lsn = self.world.copies[copy].floor_lsn + 1
                while lsn <= last_lsn and (batches := self.world.batches(copy, lsn, last_lsn)):
                    for batch in batches:
                        for index, data in enumerate(batch.payloads):
                            found[batch.first_lsn + index] = data
                        lsn = batch.first_lsn + len(batch.payloads)
                if copy in self.world.copies:  # else it was found to be damaged
                    return {lsn: data for lsn, data in found.items() if lsn <= last_lsn}
        return {}


def at_rest(world: World, writer: Writer) -> bool:
    """Whether all that runs is level, and knows it: nothing more would come of waiting."""
    members, lsn = writer.membership.members, writer.tracker.durable_lsn
    idle = writer.read == len(world.acks) and not writer.plan.copies() and not writer.sequencer.unfinished()
    return (
        writer.established
        and idle
        and writer.membership.settled
        and writer.membership.change is None
        and lsn == writer.sequencer.last_lsn
        and set(world.copies) == set(members) == set(writer.tracker.counted())
        and all(
            (ack.complete_lsn, ack.settled_lsn) == (lsn, lsn) and not changing.lacks(ack, writer.membership)
            for ack in writer.tracker.copies.values()
        )
    )


def settle(world: World, writer: Writer, *, rounds: int = 60, resting: bool = False) -> None:
    """Everything is up and delivers until the writer has the volume and all copies are level.

    Once they rest nothing more is waited for if `resting`.
    """
    for _ in range(rounds):
        world.deliver_all()
        writer.listen()
        writer.pump()
        if resting and at_rest(world, writer):
            break
        writer.tell()
        world.clock.seconds += 0.3
    assert writer.established, (writer.recovery.state, writer.tracker.copies)
