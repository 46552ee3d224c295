"""One life of a volume that is spread over two groups: each group is a world of its own, what is volume is volume.

Whatever befalls a volume of one group befalls each of these two, and is looked at in each. Besides, the volume is looked
at by its volume LSNs.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation.violations import ViolationError
from tests.simulation.writer import Writer, at_rest

from sixfold_events.volume import VolumeRedoBatch
from sixfold_functions.volume.core import merging, parts, sequencer
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.core.plan import Plan as VolumePlan
from sixfold_functions.volume.core.recovery import State
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.core.reunion import Cut, Reunion, ReunionError, Seen, Tail, reunite
from sixfold_functions.volume.core.spread import Spread

if TYPE_CHECKING:
    from tests.simulation.world import World

PLAN = VolumePlan(volume="default", groups=2, stripe=3)
ROUNDS = 60


class GroupWriter(Writer):
    """A writer's cores for one group."""

    def __init__(
        self,
        world: World,
        number: int,
        whole: GroupedWriter,
        *,
        skew_s: float,
        clock_rate: float,
        hint: Membership | None,
    ) -> None:
        self.number = number
        self.whole = whole
        super().__init__(world, whole.name, skew_s=skew_s, clock_rate=clock_rate, hint=hint)
        self.sequencer._limits = sequencer.Limits(batch_appends_max=1, ahead_records_max=200)

    @property
    def superseded(self) -> bool:
        return any(group.recovery.state is State.SUPERSEDED for group in self.whole.groups)

    def begin(self, newest: int) -> None:
        self.whole.begin()

    def begin_at(self, newest: int, tag: int) -> None:
        self.recovery.tag = tag
        super().begin(newest)

    def truncate(self) -> None:
        self.whole.truncate()

    def truncate_at(self, cut: Cut) -> None:
        self.recovery.begin_at(*cut)
        super().truncate()

    def establish(self) -> None:
        self.whole.establish()

    def establish_now(self) -> None:
        super().establish()

    def advance(self) -> None:
        self.whole.advance(self)

    def take(self, records: list[bytes]) -> None:
        """Send a part."""
        self.sequencer.offer(sequencer.Append(records, None))
        super().pump()

    def pump(self) -> None:
        self.whole.pump()

    def tail(self) -> Tail | None:
        """What the source holds; None where it cannot be asked."""
        assert self.recovery.beginning is not None
        source = self.recovery.beginning.source
        settled_lsn = min(max(ack.settled_lsn for ack in self.recovery.reports.values()), source.consistent_lsn)
        found: list[Seen] = []
        for batch in self.stored(source.copy, max(settled_lsn, 1), source.consistent_lsn):
            node = self.world.copies[source.copy].node if source.copy in self.world.copies else None
            if node is None or (node.epoch, node.log_epoch) != (self.recovery.epoch, source.log_epoch):
                return None
            end = batch.first_lsn + len(batch.payloads) - 1
            found.append(Seen(parts.decode(batch.payloads[-1]), end, batch.origin_epoch))
        return Tail(settled_lsn, found) if not source.consistent_lsn or found else None

    def stored(self, copy: str, lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
        found: list[VolumeRedoBatch] = []
        while lsn <= last_lsn and copy in self.world.copies and (some := self.world.batches(copy, lsn, last_lsn)):
            found += some
            lsn = found[-1].first_lsn + len(found[-1].payloads)
        return found if lsn > last_lsn else []


class GroupedWriter:
    """What `groups/writer.py` does with its cores, without a loop."""

    def __init__(
        self,
        volume: Volume,
        name: str,
        hints: Sequence[Membership | None],
        *,
        skew_s: float = 0.0,
        clock_rate: float = 1.0,
    ) -> None:
        self.volume = volume
        self.name = name
        self.groups: list[GroupWriter] = []
        self.spread = Spread()
        self.sequencer: sequencer.Sequencer[None] = sequencer.Sequencer(
            sequencer.Limits(batch_records_max=4, ahead_records_max=40)
        )
        self.tellable: Callable[[int], int] = lambda number: self.spread.told[number]
        self.reunite: Callable[[dict[int, Tail]], Reunion] = reunite
        self.count = 0
        self.acknowledged = 0
        self.established = False
        self.ends: dict[int, int] = {}
        self.began_lsn = 0
        self.tag = volume.worlds[0].rng.getrandbits(32)
        self._tried_at = 0.0
        volume.writer_made(self)
        for number, world in zip(PLAN.numbers, volume.worlds, strict=True):
            group = GroupWriter(world, number, self, skew_s=skew_s, clock_rate=clock_rate, hint=hints[number - 1])
            self.groups.append(group)
        self.begin()

    @property
    def epoch(self) -> int:
        return self.groups[0].recovery.epoch

    def begin(self) -> None:
        """In all groups, with one epoch."""
        if len(self.groups) < PLAN.groups:
            return  # not before all are there
        newest = max(max(group.recovery.newest_seen, group.recovery.epoch) for group in self.groups)
        for group in self.groups:
            group.begin_at(newest, self.tag)

    def truncate(self) -> None:
        if any(group.recovery.state is not State.TRUNCATING for group in self.groups):
            return
        now = self.groups[0].world.clock.seconds
        if now - self._tried_at < 0.5:
            return
        self._tried_at = now
        tails = {group.number: group.tail() for group in self.groups}
        found = {number: tail for number, tail in tails.items() if tail is not None}
        if len(found) < PLAN.groups:
            self.begin()  # a source is away
            return
        try:
            reunion = self.reunite(found)
        except ReunionError as error:
            raise ViolationError("I1", f"{self.name} cannot put the groups together: {error}") from error
        self.reunion = reunion
        for group in self.groups:
            group.truncate_at(reunion.cuts[group.number])

    def establish(self) -> None:
        if not all(group.recovery.state is State.FILLING and group.tracker.established() for group in self.groups):
            return
        self.ends = {number: cut.lsn for number, cut in self.reunion.cuts.items()}
        self.began_lsn = max(self.reunion.durable_lsn, 0)
        self.spread.begin(self.began_lsn, self.ends)
        self.sequencer.begin(self.epoch, self.began_lsn, 0)
        for group in self.groups:
            group.establish_now()
        self.established = True
        self.volume.begun(self)
        if self.reunion.durable_lsn < 0:
            self._send({number: parts.first_part(PLAN) for number in PLAN.numbers}, 0, complete=True)
        self.pump()

    @property
    def at_rest(self) -> bool:
        """Whether nothing more would come of waiting."""
        level = all(at_rest(group.world, group) for group in self.groups)
        return level and self.established and not self.sequencer.unfinished()

    def append(self, records: int) -> None:
        data = [f"{self.name}-{self.count + index}" for index in range(records)]
        payloads = [f"{each}/{data[0]}+{records}".encode() for each in data]
        self.count += records
        self.sequencer.offer(sequencer.Append(payloads, None))
        self.pump()

    def pump(self) -> None:
        if not self.established or any(group.superseded or not group.established for group in self.groups):
            return
        while (batch := self.sequencer.next_batch()) is not None:
            ends = batch.consistency_points
            split = parts.split(PLAN, batch, 0)
            self._send(split, batch.last_lsn, complete=bool(ends) and ends[-1] == batch.last_lsn)

    def _send(self, split: dict[int, list[bytes]], last_lsn: int, *, complete: bool) -> None:
        for number, records in split.items():
            self.ends[number] += len(records)
        self.spread.sent(last_lsn, {number: self.ends[number] for number in split}, complete=complete)
        for number, records in split.items():
            group = self.groups[number - 1]
            group.world.ends.add((self.ends[number], records[-1]))
            group.take(records)

    def advance(self, group: GroupWriter) -> None:
        if not self.established:
            return
        self.spread.on_durable(group.number, group.tracker.durable_lsn)
        for each in self.groups:
            each.durable_up_to(self.tellable(each.number))
        for append in self.sequencer.on_durable(self.spread.durable_lsn):
            for index, data in enumerate(append.records):
                self.acknowledged += 1
                self.volume.told(self, append.first_lsn + index, data)

    def contents(self) -> dict[int, bytes] | None:
        """The volume as this writer would read it, by volume LSN; None where a group cannot be read now."""
        found: dict[int, bytes] = {}
        for group in self.groups:
            last_lsn = group.sequencer.durable_lsn
            level = [copy for copy in group.tracker.current() if group.tracker.copies[copy].complete_lsn >= last_lsn]
            batches = next((each for copy in level if (each := group.stored(copy, 1, last_lsn))), [])
            if last_lsn and not batches:
                return None
            for batch in batches:
                if batch.first_lsn + len(batch.payloads) - 1 <= last_lsn:
                    found.update(parts.parse(batch.payloads).records)
        return found


@dataclasses.dataclass
class Volume:
    """The worlds of the groups, what clients were told, and the look at that."""

    worlds: list[World]
    writer_made: Callable[[GroupedWriter], None]
    acknowledged: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """What clients were told is durable, by volume LSN."""
    hits: Counter[str] = dataclasses.field(default_factory=Counter)
    _told: dict[int, int] = dataclasses.field(default_factory=dict)
    """The last volume LSN of which clients were told, by epoch."""
    _began: dict[int, int] = dataclasses.field(default_factory=dict)
    _mergers: dict[str, merging.Merger] = dataclasses.field(default_factory=dict)
    _applied: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """What replicas applied, by volume LSN; a client that is told another record later is told a wrong one."""

    def told(self, writer: GroupedWriter, lsn: int, data: bytes) -> None:
        """A client is told. Raises ViolationError."""
        known = self.acknowledged.setdefault(lsn, data)
        if known != data or self._applied.get(lsn, data) != data:
            raise ViolationError("I1", f"volume LSN {lsn} was acknowledged as {known!r}, and now as {data!r}")
        newest = max(self._began, default=writer.epoch)
        if newest > writer.epoch and lsn > self._began[newest]:
            raise ViolationError(
                "I6", f"{writer.name} acknowledged volume LSN {lsn}, a newer epoch began at {self._began[newest]}"
            )
        self._told[writer.epoch] = max(lsn, self._told.get(writer.epoch, 0))

    def begun(self, writer: GroupedWriter) -> None:
        """A writer has the volume. Raises ViolationError."""
        self.hits["groups taken over together"] += 1
        earlier = max((lsn for epoch, lsn in self._told.items() if epoch < writer.epoch), default=0)
        if writer.began_lsn < earlier:
            raise ViolationError(
                "I2", f"{writer.name} begins at volume LSN {writer.began_lsn}, LSN {earlier} had been acknowledged"
            )
        self._began[writer.epoch] = writer.began_lsn
        self.look(writer)

    def given(self, replica: str, group: int, point: ConsistencyPoint) -> None:
        """A replica applied what one group has of a batch. Raises ViolationError."""
        merger = self._mergers.setdefault(replica, merging.Merger())
        for whole in merger.take(group, point.records, point.last_lsn):
            appends = {record.partition(b"/")[2] for record in whole.records}
            if len(appends) != 1 or len(whole.records) != int(appends.pop().rpartition(b"+")[2]):
                raise ViolationError("I4", f"{replica} applied {whole.records} together")
            for lsn, record in enumerate(whole.records, whole.first_lsn):
                if self.acknowledged.get(lsn, record) != record or self._applied.setdefault(lsn, record) != record:
                    raise ViolationError("I4", f"{replica} has {record!r} for volume LSN {lsn}")

    def look_at_replicas(self, writer: GroupedWriter) -> None:
        """All is well: each has everything. Raises ViolationError."""
        for replica, merger in self._mergers.items():
            if merger.given_lsn != writer.spread.durable_lsn:
                raise ViolationError(
                    "I7", f"{replica} ends at volume LSN {merger.given_lsn} of {writer.spread.durable_lsn}"
                )

    def look(self, writer: GroupedWriter) -> None:
        """The groups together are what clients were told, without a hole, and of each append all or nothing."""
        found = writer.contents()
        if found is None:
            return
        last_lsn = writer.spread.durable_lsn
        for lsn in range(1, last_lsn + 1):
            if lsn not in found:
                raise ViolationError("I1", f"no group has volume LSN {lsn} of {last_lsn} for {writer.name}")
        for lsn, data in self.acknowledged.items():
            if lsn <= last_lsn and found[lsn] != data:
                raise ViolationError(
                    "I1", f"volume LSN {lsn} was acknowledged as {data!r}, {writer.name} has {found[lsn]!r}"
                )
        beyond = [lsn for lsn in found if lsn > last_lsn]
        if beyond:
            raise ViolationError(
                "I2", f"volume LSN {beyond[0]} is kept, the volume of {writer.name} ends at {last_lsn}"
            )
        counted = Counter(data.partition(b"/")[2] for data in found.values())
        for append, count in counted.items():
            if count != int(append.rpartition(b"+")[2]):
                raise ViolationError("I1", f"{count} records are there of append {append!r}")


def alone(tails: dict[int, Tail]) -> Reunion:
    """Each group keeps all that its source holds: what a recovery of single groups would do."""
    cuts = {
        number: Cut(tail.parts[-1].end_lsn, tail.parts[-1].origin_epoch) if tail.parts else Cut(0, 0)
        for number, tail in tails.items()
    }
    return reunite(tails)._replace(cuts=cuts)
