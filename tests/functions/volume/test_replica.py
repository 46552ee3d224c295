"""A replica's core: what it gives out, against a plain model of volumes that recover, and one decision at a time."""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.functions.volume.making import E1, E2, E3, ack, batch, bump, truncation

from sixfold_events.volume import VolumeDurableAdvanced, VolumeRedoBatch
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.lag import STAMPS_MAX, LagMeter
from sixfold_functions.volume.core.node import Redo
from sixfold_functions.volume.core.replica import ConsistencyPoint, Replica


def announcement(epoch: int, durable_lsn: int, *, at_ms: int = 0) -> VolumeDurableAdvanced:
    """The writer of `epoch` says what is durable."""
    return VolumeDurableAdvanced(
        volume="default", epoch=epoch, durable_lsn=durable_lsn, append_offset=0, durable_at_ms=at_ms
    )


def given(replica: Replica) -> list[tuple[int, int]]:
    """First and last LSN of each consistency point that is new."""
    return [(point.first_lsn, point.last_lsn) for point in replica.take_points()]


@dataclasses.dataclass
class Volume:
    """The model: what one epoch's volume holds, as batches that follow each other."""

    epoch: int
    batches: list[VolumeRedoBatch]
    durable_lsn: int = 0
    established: bool = False

    @property
    def last_lsn(self) -> int:
        return self.batches[-1].first_lsn + len(self.batches[-1].payloads) - 1 if self.batches else 0

    @property
    def ends(self) -> list[int]:
        """Where it can be cut: the ends of appends."""
        return [0, *(each.consistency_points[-1] for each in self.batches if each.consistency_points)]

    def up_to(self, lsn: int) -> list[VolumeRedoBatch]:
        return [each for each in self.batches if each.first_lsn + len(each.payloads) - 1 <= lsn]

    def appends(self, lsn: int) -> list[list[bytes]]:
        """Records of each append that ends at `lsn` or below."""
        found: list[list[bytes]] = []
        records: list[bytes] = []
        for each in self.batches:
            for number, payload in enumerate(each.payloads, each.first_lsn):
                records.append(payload)
                if number in each.consistency_points:
                    if number <= lsn:
                        found.append(records)
                    records = []
        return found


class Lives(RuleBasedStateMachine):
    """Writers follow each other; what they send reaches a replica in any order, any number of times or never."""

    @initialize()
    def begin(self) -> None:
        self.replica = Replica("default")
        self.volumes = [Volume(E1, [], established=True)]
        self.sent: list[Redo] = [bump(E1), truncation(E1, 0, source=0)]
        self.said = [announcement(E1, 0)]
        self.applied: list[ConsistencyPoint] = []

    @property
    def _durable(self) -> Volume:
        return max(self.volumes, key=lambda volume: (volume.durable_lsn, volume.epoch))

    @rule(writer=st.integers(0, 2), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), cut=st.booleans())
    def append(self, writer: int, sizes: list[int], cut: bool) -> None:
        """A writer that has a volume, or had one, sends a batch; one that is cut has no consistency point yet."""
        volume = [volume for volume in self.volumes if volume.established][-1 - writer :][0]
        first = volume.last_lsn + 1
        lasts = [first - 1 + sum(sizes[: index + 1]) for index in range(len(sizes))]
        made = batch(
            first,
            lasts[-1],
            epoch=volume.epoch,
            back=volume.batches[-1].origin_epoch if volume.batches else 0,
            vdl=volume.durable_lsn,
            points=[] if cut else lasts,
        )
        volume.batches.append(made)
        self.sent.append(made)

    @rule(data=st.data())
    def more_is_durable(self, data: st.DataObject) -> None:
        """Only the newest writer's: the others are fenced off."""
        volume = self.volumes[-1]
        if volume.established:
            volume.durable_lsn = data.draw(
                st.sampled_from([each for each in volume.ends if each >= volume.durable_lsn])
            )
            self.said.append(announcement(volume.epoch, volume.durable_lsn))

    @rule()
    def tell(self) -> None:
        """An empty batch."""
        volume = self.volumes[-1]
        if volume.established:
            last = volume.last_lsn
            self.sent.append(batch(last + 1, last, epoch=volume.epoch, back=0, vdl=volume.durable_lsn, points=[]))

    @rule(data=st.data())
    def recover(self, data: st.DataObject) -> None:
        """A new writer takes what a copy has: all that is durable, perhaps more. It may be followed before it counts."""
        durable = self._durable
        sources = [volume for volume in self.volumes if volume.epoch >= durable.epoch]
        source = data.draw(st.sampled_from(sources))
        begins = data.draw(st.sampled_from([end for end in source.ends if end >= durable.durable_lsn]))
        epoch = epochs.make(len(self.volumes) + 1, 7)
        self.volumes.append(Volume(epoch, source.up_to(begins)))
        self.sent += [bump(epoch), truncation(epoch, begins, source=source.epoch)]

    @precondition(lambda self: not self.volumes[-1].established)
    @rule()
    def establish(self) -> None:
        """Four copies have what the newest epoch began with; it is durable, and sent again to those that lack it."""
        volume = self.volumes[-1]
        volume.established, volume.durable_lsn = True, volume.last_lsn
        self.sent += [msgspec.structs.replace(each, epoch=volume.epoch) for each in volume.batches]

    @rule(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), durable=st.booleans())
    def a_writer_follows_in_one_go(self, sizes: list[int], durable: bool) -> None:
        """It begins with no more than it must, so its records take the LSNs of what the one before had sent."""
        before = self._durable
        epoch = epochs.make(len(self.volumes) + 1, 7)
        self.volumes.append(Volume(epoch, before.up_to(before.durable_lsn)))
        self.sent += [bump(epoch), truncation(epoch, before.durable_lsn, source=before.epoch)]
        self.establish()
        self.append(0, sizes, False)
        if durable:
            self.volumes[-1].durable_lsn = self.volumes[-1].last_lsn
            self.said.append(announcement(epoch, self.volumes[-1].durable_lsn))

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """Any record that was ever sent, in any order."""
        self.replica.on_redo(data.draw(st.sampled_from(self.sent)))

    @rule(count=st.integers(1, 8))
    def hear_the_newest(self, count: int) -> None:
        for event in self.sent[-count:]:
            self.replica.on_redo(event)

    @rule(data=st.data())
    def hear_what_is_durable(self, data: st.DataObject) -> None:
        self.replica.on_announcement(data.draw(st.sampled_from(self.said)))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A copy that obeys some epoch, and has a part of its volume, answers; what it knows to be durable is."""
        volume = data.draw(st.sampled_from(self.volumes))
        newer = [each.epoch for each in self.volumes if each.epoch >= volume.epoch]
        self._answer(volume, data.draw(st.sampled_from(volume.ends)), data.draw(st.sampled_from(newer)), data)

    def _answer(self, volume: Volume, complete: int, epoch: int, data: st.DataObject | None = None) -> None:
        known = max(each.durable_lsn for each in self.volumes if each.epoch <= volume.epoch)
        settled = min(known, complete)
        if data is not None:
            settled = data.draw(st.sampled_from([end for end in volume.ends if end <= settled]))
        status = ack("a1", complete, epoch=epoch, log_epoch=volume.epoch)
        self.replica.on_answer(msgspec.structs.replace(status, settled_lsn=settled), volume.up_to(complete))

    @invariant()
    def what_is_applied_is_durable_whole_and_in_order(self) -> None:
        """Exactly the first appends of the durable volume, each once."""
        self.applied += self.replica.take_points()
        assert not self.replica.diverged
        durable = self._durable
        appends = durable.appends(durable.durable_lsn)
        assert [point.records for point in self.applied] == appends[: len(self.applied)]
        assert self.replica.given_lsn == sum(len(point.records) for point in self.applied)
        if self.applied:
            assert self.applied[-1].last_lsn == self.replica.given_lsn

    def teardown(self) -> None:
        """Once it hears what is durable and reads what it lacks, it has all of it."""
        if not hasattr(self, "replica"):
            return
        newest = self._durable
        self.replica.on_announcement(announcement(newest.epoch, newest.durable_lsn))
        if self.replica.missing() != (0, 0):
            self._answer(newest, newest.last_lsn, newest.epoch)
        self.what_is_applied_is_durable_whole_and_in_order()
        assert self.replica.missing() == (0, 0)
        assert self.replica.given_lsn == newest.durable_lsn
        records, size = self.replica.held()
        assert (records == 0) == (size == 0)


Lives.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLives = Lives.TestCase


def test_nothing_above_the_durable_lsn_is_given_out() -> None:
    """What later batches say, or an announcement, frees the earlier ones."""
    replica = Replica("default")
    replica.on_redo(batch(1, 2))
    assert given(replica) == []
    replica.on_redo(batch(3, 3, vdl=2))
    assert given(replica) == [(1, 2)]
    replica.on_announcement(announcement(E1, 3))
    assert given(replica) == [(3, 3)]


def test_an_append_that_is_cut_is_given_out_whole() -> None:
    """Aurora's second rule: what is one append is applied at once, however many batches it took."""
    replica = Replica("default")
    replica.on_redo(batch(1, 2, points=[]))
    replica.on_redo(batch(3, 4, points=[], vdl=2))
    assert given(replica) == []
    replica.on_redo(batch(5, 7, points=[5, 7]))
    replica.on_announcement(announcement(E1, 7))
    assert given(replica) == [(1, 5), (6, 7)]


def test_a_gap_is_named_once_it_is_durable_and_what_a_copy_has_fills_it() -> None:
    """Batches beyond it wait."""
    replica = Replica("default")
    replica.on_redo(batch(5, 6, vdl=0))
    assert replica.missing() == (0, 0)
    replica.on_announcement(announcement(E1, 6))
    assert replica.missing() == (1, 4)
    replica.on_answer(ack("a1", 3), [batch(1, 2), batch(3, 3)])
    assert given(replica) == [(1, 2), (3, 3)]
    assert replica.missing() == (4, 4)
    replica.on_redo(batch(4, 4))
    assert given(replica) == [(4, 4), (5, 6)]


def test_what_a_new_epoch_began_with_is_not_durable_yet() -> None:
    """Its recovery may not come to its end, and the next may begin with less: only a word of durability counts."""
    replica = Replica("default")
    replica.on_redo(batch(1, 3))
    replica.on_redo(bump(E2))
    replica.on_redo(truncation(E2, 3, source=E1))
    assert given(replica) == []
    replica.on_redo(truncation(E3, 0, source=0))
    replica.on_redo(batch(1, 2, epoch=E3, back=0))
    replica.on_announcement(announcement(E3, 2))
    assert [point.records for point in replica.take_points()] == [[b"1@3", b"2@3"]]


def test_what_a_recovery_annuls_is_dropped_and_what_it_keeps_stays() -> None:
    """Records above its beginning are of another history than what comes."""
    replica = Replica("default")
    for lsn in (1, 2, 3):
        replica.on_redo(batch(lsn, lsn))
    replica.on_redo(truncation(E2, 2, source=E1))
    assert replica.held() == (2, 6)
    replica.on_redo(batch(3, 3, epoch=E2, back=E1, vdl=2))
    assert given(replica) == [(1, 1), (2, 2)]
    replica.on_announcement(announcement(E2, 3))
    assert [point.records for point in replica.take_points()] == [[b"3@2"]]


def test_a_word_of_a_newer_epoch_does_not_cover_what_is_held_of_an_older_one() -> None:
    """It is dropped and read from a copy, since it may be another record than the one that became durable."""
    replica = Replica("default")
    replica.on_redo(batch(1, 1))
    replica.on_announcement(announcement(E2, 1))
    assert given(replica) == []
    assert replica.missing() == (1, 1)
    replica.on_redo(batch(1, 1))
    assert replica.missing() == (1, 1), "the older writer's batch counts no more"
    behind = ack("a1", 1)
    replica.on_answer(behind, [batch(1, 1)])
    assert replica.missing() == (1, 1), "nor does a copy's that has not heard of the newer one"
    replica.on_answer(msgspec.structs.replace(behind, settled_lsn=1), [batch(1, 1)])
    assert given(replica) == [(1, 1)], "but what the copy knows to be durable does"


def test_a_volume_that_lost_what_was_durable_is_not_followed() -> None:
    """More copies lost their logs than a quorum bears: nothing more is given out, and it says why."""
    replica = Replica("default")
    replica.on_redo(batch(1, 5))
    replica.on_announcement(announcement(E1, 5))
    assert given(replica) == [(1, 5)]
    replica.on_redo(truncation(E2, 3, source=E1))
    assert "began its epoch at LSN 3, but records up to LSN 5 were durable" in replica.diverged

    other = Replica("default")
    other.on_redo(batch(1, 1))
    other.on_announcement(announcement(E2, 3))
    other.on_answer(ack("a1", 3, epoch=E2), [batch(1, 1, epoch=E2), batch(2, 3, epoch=E2, back=E1)])
    assert given(other) == [(1, 1)]
    assert "LSN 2 does not follow what was durable at LSN 1" in other.diverged


def test_it_begins_behind_what_the_caller_has_even_inside_of_a_batch() -> None:
    """The rest of the batch comes first."""
    replica = Replica("default", start_lsn=2)
    replica.on_answer(msgspec.structs.replace(ack("a1", 4), settled_lsn=4), [batch(1, 4, points=[1, 3, 4])])
    assert given(replica) == [(3, 3), (4, 4)]


def test_what_waits_is_bounded_and_what_is_let_go_is_missing_later() -> None:
    """Beyond the bound only the batch that comes next is taken; a copy has the others."""
    replica = Replica("default", held_records_max=3)
    for lsn in (2, 3, 4, 5, 6):
        replica.on_redo(batch(lsn, lsn))
    assert replica.held()[0] == 3
    replica.on_announcement(announcement(E1, 6))
    replica.on_redo(batch(1, 1))
    assert given(replica) == [(lsn, lsn) for lsn in (1, 2, 3, 4)]
    assert replica.missing() == (5, 6)


def test_another_volume_is_another_volume() -> None:
    """Neither its redo nor its announcements count."""
    replica = Replica("other")
    replica.on_redo(batch(1, 1))
    replica.on_announcement(announcement(E1, 1))
    replica.on_answer(ack("a1", 1), [batch(1, 1)])
    assert (given(replica), replica.durable_lsn, replica.held()) == ([], 0, (0, 0))


def test_the_lag_is_the_time_from_durable_to_visible() -> None:
    """The oldest record that is not visible tells while one is behind, else the last that was measured."""
    lag = LagMeter()
    assert lag.behind_ms(0) is None
    lag.durable(5, 1000)
    lag.durable(9, 1040)
    lag.durable(9, 1060)
    assert lag.behind_ms(1050) == 50
    lag.applied(5, 1052)
    assert (lag.last_ms, lag.behind_ms(1070)) == (52, 30)
    lag.applied(9, 1075)
    assert (lag.last_ms, lag.behind_ms(9999)) == (35, 35)


def test_the_stamps_that_wait_are_bounded_and_the_oldest_stays() -> None:
    """A replica that stands still for an hour knows how long."""
    lag = LagMeter()
    for lsn in range(1, 10 * STAMPS_MAX):
        lag.durable(lsn, 1000 + lsn)
    assert len(lag._waiting) == STAMPS_MAX
    assert lag.behind_ms(1001 + 60_000) == 60_000
