"""The tracker, the recovery and the repair plan, one decision at a time."""

from __future__ import annotations

import pytest
from tests.functions.volume.making import E1, E2, E3, ack

from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.recovery import TRANSITIONS, Happened, Recovery, State
from sixfold_functions.volume.core.repair import Fill, RepairPlan
from sixfold_functions.volume.core.tracker import QuorumTracker, Standing, standing

COPIES = ("a1", "a2", "b1", "b2", "c1", "c2")


def test_the_durable_lsn_advances_with_the_fourth_copy() -> None:
    """Three copies are not enough, the fourth makes it durable."""
    tracker = QuorumTracker(epoch=E1)
    assert [tracker.on_ack(ack(copy, 5)) for copy in COPIES[:4]] == [False, False, False, True]
    assert tracker.durable_lsn == 5


def test_the_durable_lsn_is_rounded_down_to_a_consistency_point() -> None:
    """Complete to 1007 with a consistency point at 1000 is durable to 1000."""
    tracker = QuorumTracker(epoch=E1)
    for copy in COPIES:
        tracker.on_ack(ack(copy, 1007, cpl=1000))
    assert tracker.durable_lsn == 1000


def test_copies_of_another_epoch_do_not_count() -> None:
    """Neither an older epoch, nor a copy that still lacks what the epoch began with."""
    tracker = QuorumTracker(epoch=E2)
    for copy in COPIES[:3]:
        tracker.on_ack(ack(copy, 5, epoch=E2))
    tracker.on_ack(ack("b2", 5, epoch=E1))
    tracker.on_ack(ack("c1", 5, epoch=E2, log_epoch=E1))
    assert tracker.durable_lsn == 0
    assert not tracker.established()


def test_a_late_word_is_ignored_and_a_new_incarnation_believed() -> None:
    """Order is (incarnation, sequence): what a copy says after a restart replaces what it said before."""
    tracker = QuorumTracker(epoch=E1)
    tracker.on_ack(ack("a1", 9, sequence=5))
    tracker.on_ack(ack("a1", 3, sequence=4))
    assert tracker.copies["a1"].complete_lsn == 9
    tracker.on_ack(ack("a1", 3, sequence=1, incarnation=2))
    assert tracker.copies["a1"].complete_lsn == 3


def test_the_durable_lsn_never_goes_back() -> None:
    """A copy that lost records does not take back what was announced."""
    tracker = QuorumTracker(epoch=E1)
    for copy in COPIES[:4]:
        tracker.on_ack(ack(copy, 9))
    tracker.on_ack(ack("a1", 1, incarnation=2))
    assert tracker.durable_lsn == 9


@pytest.mark.parametrize(
    ("epoch", "log_epoch", "expected"),
    [(E1, E1, Standing.BEHIND), (E2, E1, Standing.FILLING), (E2, E2, Standing.CURRENT), (E3, E2, Standing.AHEAD)],
)
def test_how_a_copy_stands_to_an_epoch(epoch: int, log_epoch: int, expected: Standing) -> None:
    """Every standing, seen from epoch 2."""
    assert standing(ack("a1", 1, epoch=epoch, log_epoch=log_epoch), E2) is expected


def recovery_with(*acks_: tuple[str, int, int]) -> Recovery:
    """A recovery that heard of (copy, log epoch, SCL) and whose grace is over."""
    recovery = Recovery(7, grace_s=1.0)
    epoch = recovery.begin(E2)
    for copy, log_epoch, lsn in acks_:
        recovery.on_ack(ack(copy, lsn, epoch=epoch, log_epoch=log_epoch), 0.0)
    recovery.on_time(2.0)
    return recovery


def test_recovery_waits_for_three_copies() -> None:
    """Two that stored the bump cannot exclude a write quorum of the old epoch."""
    assert recovery_with(("a1", E1, 9), ("b1", E1, 9)).state is State.BUMPING
    assert recovery_with(("a1", E1, 9), ("b1", E1, 9), ("c1", E1, 9)).state is State.TRUNCATING


def test_the_source_is_chosen_by_epoch_first_and_by_lsn_second() -> None:
    """A copy that is ahead in number and behind in epoch holds what an earlier recovery annulled (Neon's rule)."""
    recovery = recovery_with(("a1", E1, 12), ("b1", E2, 8), ("c1", E2, 7))
    assert recovery.beginning is not None
    assert (recovery.beginning.source.copy, recovery.beginning.durable_lsn) == ("b1", 8)


def test_recovery_does_not_wait_for_the_grace_when_all_six_answer() -> None:
    """Six answers are all there can be."""
    recovery = Recovery(7, grace_s=1.0)
    epoch = recovery.begin()
    for copy in COPIES:
        recovery.on_ack(ack(copy, 1, epoch=epoch, log_epoch=0), 0.0)
    assert recovery.state is State.TRUNCATING


def test_a_newer_epoch_ends_a_recovery_and_supersedes_an_established_writer() -> None:
    """Before it has the volume a writer may outbid the other; afterwards it is fenced and learns by whom."""
    recovery = recovery_with(("a1", E1, 1), ("b1", E1, 1), ("c1", E1, 1))
    recovery.on_ack(ack("a1", 1, epoch=epochs.make(9, 1)), 3.0)
    assert recovery.state.value == "idle"
    assert recovery.begin() > epochs.make(9, 1)
    for copy in COPIES:
        recovery.on_ack(ack(copy, 1, epoch=recovery.epoch, log_epoch=E1), 4.0)
    recovery.truncation_sent()
    recovery.write_quorum()
    recovery.on_ack(ack("a1", 1, epoch=epochs.make(20, 1)), 5.0)
    assert recovery.state is State.SUPERSEDED
    assert recovery.superseded_by is not None
    assert recovery.superseded_by.writer == "writer-20"


def test_every_state_of_a_recovery_can_be_reached_and_only_superseded_is_final() -> None:
    """The table has no dead ends."""
    reached = {State.IDLE, *TRANSITIONS.values()}
    assert reached == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.SUPERSEDED}
    assert {happened for _, happened in TRANSITIONS} == set(Happened)


def test_two_writers_that_start_together_have_different_epochs() -> None:
    """The tag orders equal counters, as a ballot number does."""
    assert epochs.after(E1, 1) != epochs.after(E1, 2)
    assert epochs.after(E1, 0) > epochs.make(1, (1 << 32) - 1)
    assert epochs.text(epochs.make(7, 0xC0FFEE)) == "7.00c0ffee"


def test_a_gap_is_filled_when_it_persists_and_again_without_progress() -> None:
    """Batches that overtake each other need no repair; a fill that shows no effect is tried again."""
    plan = RepairPlan(patience_s=0.2, retry_s=2.0)
    known = {"a1": ack("a1", 2, missing=(3, 4))}
    plan.on_ack(known["a1"], E1, 0.0)
    assert plan.due(known, 0.1) == []
    assert plan.due(known, 0.3) == [Fill("a1", 3, 4)]
    plan.on_ack(known["a1"], E1, 0.9)
    assert plan.due(known, 1.0) == []
    assert plan.due(known, 2.5, busy=["a1"]) == []
    assert plan.due(known, 2.5) == [Fill("a1", 3, 4)]
    plan.on_ack(ack("a1", 4), E1, 3.0)
    assert plan.due({"a1": ack("a1", 4)}, 9.0) == []


def test_more_follows_once_all_that_was_sent_is_there() -> None:
    """A large gap is filled in parts: neither twice while a part is on its way, nor with a pause between parts."""
    plan = RepairPlan(retry_s=2.0)
    plan.on_ack(ack("a1", 0, missing=(1, 1000)), E1, 0.0)
    known = {"a1": ack("a1", 0, missing=(1, 1000))}
    assert plan.due(known, 1.0) == [Fill("a1", 1, 1000)]
    plan.sent("a1", 500, 1.0)
    plan.on_ack(ack("a1", 300, missing=(301, 1000)), E1, 2.0)
    assert plan.due(known, 3.5) == [], "300 of 500 are there, the others may be on their way"
    known = {"a1": ack("a1", 500, missing=(501, 1000))}
    plan.on_ack(known["a1"], E1, 3.6)
    assert plan.due(known, 3.6) == [Fill("a1", 501, 1000)]


def test_a_copy_that_lacks_much_is_left_to_its_peers_unless_that_comes_to_a_halt() -> None:
    """Through the writer it would pass the bus twice; what is left in the end is the writer's again."""
    plan = RepairPlan(patience_s=0.2, much_records=500, much_s=3.0)
    for second in range(10):
        known = {"a1": ack("a1", 0, missing=(1 + 10 * second, 1000))}
        plan.on_ack(known["a1"], E1, float(second))
        assert plan.due(known, second + 0.9) == []
    assert plan.due(known, 11.9) == []
    assert plan.due(known, 12.1) == [Fill("a1", 91, 1000)]
    plan = RepairPlan(patience_s=0.2, much_records=500, much_s=3.0)
    for at, first in ((0.0, 1), (1.0, 900)):
        known = {"a1": ack("a1", 0, missing=(first, 1000))}
        plan.on_ack(known["a1"], E1, at)
    assert plan.due(known, 1.3) == [Fill("a1", 900, 1000)]


def test_what_goes_on_to_be_sent_is_given_time_to_arrive() -> None:
    """A copy is not sent again what is on its way, however long ago the filling began."""
    plan = RepairPlan(retry_s=2.0)
    known = {"a1": ack("a1", 0, missing=(1, 1000))}
    plan.on_ack(known["a1"], E1, 0.0)
    assert plan.due(known, 1.0) == [Fill("a1", 1, 1000)]
    plan.sent("a1", 500, 1.0)
    plan.on_ack(ack("a1", 500, missing=(501, 1000)), E1, 1.5)
    plan.sent("a1", 1000, 1.6)
    known = {"a1": ack("a1", 600, missing=(601, 1000))}
    plan.on_ack(known["a1"], E1, 1.8)
    assert plan.due(known, 3.7) == []
    assert plan.due(known, 3.9) == [Fill("a1", 601, 1000)]


def test_a_silent_copy_gets_a_word_now_and_then_and_no_data() -> None:
    """A copy that is down must not have its gap sent to its partition again and again; once it speaks it is filled."""
    plan = RepairPlan(retry_s=2.0, silence_s_max=60.0)
    known = {"a1": ack("a1", 0, missing=(1, 1000))}
    plan.on_ack(known["a1"], E1, 0.0)
    sent = [(now, fill) for now in range(1, 500) for fill in plan.due(known, float(now))]
    assert sent[0] == (1, Fill("a1", 1, 1000))
    assert {fill for _, fill in sent[1:]} == {Fill("a1", truncation=True)}
    assert 8 <= len(sent) <= 16
    plan.on_ack(known["a1"], E1, 500.0)
    assert plan.due(known, 600.0) == [Fill("a1", 1, 1000)]


def test_a_copy_that_missed_the_truncation_gets_it() -> None:
    """A copy in the epoch that does not know where it began can say nothing else."""
    plan = RepairPlan()
    known = {"a1": ack("a1", 2, epoch=E2, log_epoch=E1)}
    plan.on_ack(known["a1"], E2, 0.0)
    assert plan.due(known, 0.0) == [Fill("a1", truncation=True)]


def test_a_copy_that_rests_in_an_older_epoch_is_told_of_the_new_one() -> None:
    """While it speaks it is reading its backlog; where nothing is left to read it would stay behind for ever."""
    plan = RepairPlan(behind_s=2.0)
    for second in range(5):
        plan.on_ack(ack("a1", second, epoch=E1, sequence=second + 1), E2, float(second))
        assert plan.due({"a1": ack("a1", second)}, second + 0.5) == []
    assert plan.due({"a1": ack("a1", 4)}, 6.5) == [Fill("a1", truncation=True)]


def test_a_copy_that_lost_its_log_is_admitted_when_it_lacks_nothing() -> None:
    """Filled first, then told how far the volume goes; until it says that it counts again."""
    plan = RepairPlan(patience_s=0.2)
    known = {"a1": ack("a1", 0, epoch=E2, log_epoch=0, missing=(1, 9), joining=True)}
    plan.on_ack(known["a1"], E2, 0.0)
    assert plan.due(known, 0.0) == [Fill("a1", 1, 9)]
    known = {"a1": ack("a1", 9, epoch=E2, joining=True)}
    plan.on_ack(known["a1"], E2, 1.0)
    assert plan.due(known, 1.5) == [Fill("a1", admission=True)]
    plan.on_ack(ack("a1", 9, epoch=E2), E2, 2.0)
    assert plan.copies() == []


def test_a_copy_that_is_level_is_admitted_without_a_pause() -> None:
    """What it was sent is all there: there is nothing to wait for."""
    plan = RepairPlan(retry_s=2.0)
    known = {"a1": ack("a1", 0, missing=(1, 9), joining=True)}
    plan.on_ack(known["a1"], E1, 0.0)
    assert plan.due(known, 1.0) == [Fill("a1", 1, 9)]
    plan.sent("a1", 9, 1.0)
    known = {"a1": ack("a1", 9, joining=True)}
    plan.on_ack(known["a1"], E1, 1.1)
    assert plan.due(known, 1.1) == [Fill("a1", admission=True)]
    assert plan.due(known, 2.0) == []


def test_a_copy_that_lost_its_log_counts_neither_for_a_write_nor_for_a_recovery() -> None:
    """It may have acknowledged what it has not got any more: with it three would be too few, and four too."""
    tracker = QuorumTracker(epoch=E1)
    for copy in COPIES[:3]:
        tracker.on_ack(ack(copy, 5))
    tracker.on_ack(ack("b2", 5, joining=True))
    assert tracker.durable_lsn == 0
    assert not tracker.established()
    tracker.on_ack(ack("b2", 5, sequence=2))
    assert tracker.durable_lsn == 5

    recovery = Recovery(7, grace_s=1.0)
    epoch = recovery.begin()
    for copy, joining in (("a1", False), ("b1", False), ("c1", True)):
        recovery.on_ack(ack(copy, 1, epoch=epoch, log_epoch=0, joining=joining), 0.0)
    recovery.on_time(2.0)
    assert recovery.state is State.BUMPING
    recovery.on_ack(ack("a1", 1, epoch=epoch, log_epoch=0, joining=True, incarnation=2), 3.0)
    recovery.on_ack(ack("c2", 1, epoch=epoch, log_epoch=0), 3.0)
    assert recovery.state is State.BUMPING, "what a1 had promised went with its log"
    recovery.on_ack(ack("b2", 1, epoch=epoch, log_epoch=0), 3.0)
    assert recovery.state.value == "gathering"
