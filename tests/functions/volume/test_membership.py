"""Membership: its two steps, and that quorums of one version and of the next always meet."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.functions.volume.making import E1, E2, E3, ack, bump, membership

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core import changing, layout
from sixfold_functions.volume.core.membership import FIRST, Membership, MembershipError, event_of, of_event
from sixfold_functions.volume.core.node import StorageNode
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Sets
from sixfold_functions.volume.core.recovery import Recovery, State
from sixfold_functions.volume.core.state import NodeState
from sixfold_functions.volume.core.tracker import QuorumTracker

COPIES = layout.COPIES


# -- the two steps -----------------------------------------------------------------------------------------------------


def test_a_copy_is_replaced_in_two_steps() -> None:
    """Beside the old set comes one with the next free name and number of its zone; then only that one is left."""
    joint = FIRST.replacing("a2").settle()
    assert joint.sets == (COPIES, ("a1", "a3", "b1", "b2", "c1", "c2"))
    assert joint.change == ("a2", "a3")
    assert joint.place("a3") == layout.Place("a3", "a", 6)
    assert joint.members == (*COPIES, "a3")
    done = joint.replaced()
    assert (done.version, done.settled, done.counting) == (2, False, joint.sets)
    assert not done.is_removed("a2")
    assert done.settle().is_removed("a2")
    assert done.settle().members == ("a1", "b1", "b2", "c1", "c2", "a3")


def test_a_replacement_is_undone_and_neither_name_nor_number_is_used_again() -> None:
    """The old set counts again; the next replacement gets new ones."""
    undone = FIRST.replacing("a2").settle().undone().settle()
    assert (undone.sets, undone.version) == ((COPIES,), 2)
    assert undone.is_removed("a3")
    again = undone.replacing("a2")
    assert again.place("a4") == layout.Place("a4", "a", 7)
    assert FIRST.replacing("c1").change == ("c1", "c3")


@pytest.mark.parametrize(
    ("before", "step", "says"),
    [
        (FIRST, lambda each: each.replacing("d1"), "d1 was never one of its copies; expected one of a1, a2"),
        (FIRST, lambda each: each.undone(), "no copy is being replaced"),
        (FIRST.replacing("a2"), lambda each: each.replaced(), "has not stored the last change yet"),
        (FIRST.replacing("a2"), lambda each: each.replacing("b1"), "has not stored the last change yet"),
        (FIRST.replacing("a2").settle(), lambda each: each.replacing("b1"), "a2 is being replaced by a3 already"),
        (
            FIRST.replacing("a2").settle().replaced().settle(),
            lambda each: each.replacing("a2"),
            "a2 is no member any more",
        ),
    ],
)
def test_a_change_that_cannot_begin_says_why(before: Membership, step: object, says: str) -> None:
    """One change at a time, each upon a settled one."""
    with pytest.raises(MembershipError, match=says):
        step(before)  # type: ignore[operator]


def test_a_membership_is_the_same_after_its_event() -> None:
    """Whatever its state."""
    joint = FIRST.replacing("b2").of_epoch(E2)
    for each in (FIRST, joint, joint.settle(), joint.settle().replaced()):
        assert of_event(event_of(each, "default")) == each


# -- quorums meet ------------------------------------------------------------------------------------------------------

Steps = list[tuple[str, bool]]


@st.composite
def histories(draw: st.DrawFn) -> list[Membership]:
    """Every membership that a volume goes through, settled and not: some replacements, some of them undone."""
    now, found = FIRST, [FIRST]
    for _ in range(draw(st.integers(1, 4))):
        for change in ("begin", "end"):
            if change == "begin":
                now = now.replacing(draw(st.sampled_from(now.members)))
            else:
                now = now.replaced() if draw(st.booleans()) else now.undone()
            found.append(now)
            now = now.settle()
            found.append(now)
    return found


@functools.cache
def quorums(sets: Sets, size: int) -> tuple[frozenset[str], ...]:
    """Every smallest choice of copies that has `size` of each set, in an order."""
    copies = sorted({copy for members in sets for copy in members})
    found: list[frozenset[str]] = []
    for count in range(size, 2 * size + 1):
        for each in map(frozenset, itertools.combinations(copies, count)):
            enough = all(len(each & set(members)) >= size for members in sets)
            if enough and not any(smaller < each for smaller in found):
                found.append(each)
    return tuple(found)


@given(histories())
def test_quorums_of_memberships_that_may_be_in_use_together_meet(history: list[Membership]) -> None:
    """Of one and the next: every read quorum and every write quorum, and every two write quorums, each way round."""
    for before, after in itertools.pairwise(history):
        for one, other in ((before, after), (after, before), (after, after)):
            writes = quorums(one.counting, FOUR_OF_SIX.write)
            for read in (*quorums(other.counting, FOUR_OF_SIX.read), *quorums(other.counting, FOUR_OF_SIX.write)):
                assert all(read & write for write in writes)


@given(histories(), st.data())
def test_whoever_begins_with_an_old_membership_hears_of_the_newest(
    history: list[Membership], data: st.DataObject
) -> None:
    """A read quorum of it holds a later word, unless it is the newest that is settled."""
    newest = data.draw(st.sampled_from([each for each in history if each.settled]))
    known = data.draw(st.sampled_from(history[: history.index(newest) + 1]))
    stored = dict.fromkeys((place.copy for place in newest.places), 0)
    for each in history[: history.index(newest) + 1]:
        if not each.settled:  # it was settled when just a write quorum of each set had stored it
            for copy in data.draw(st.sampled_from(quorums(each.counting, FOUR_OF_SIX.write))):
                stored[copy] = each.version
    versions = {each.version: each for each in history if not each.settled} | {0: FIRST}
    while known.version < newest.version:
        heard = data.draw(st.sampled_from(quorums(known.counting, FOUR_OF_SIX.read)))
        later = max(stored[copy] for copy in heard)
        assert later > known.version
        known = versions[later]


def test_a_replacement_in_one_step_is_not_safe() -> None:
    """What the two steps are for: the old set's read quorums do not meet the new set's write quorums."""
    jump = dataclasses.replace(FIRST.replacing("a2"), sets=(FIRST.replacing("a2").sets[1],), previous=())
    writes = quorums(jump.counting, FOUR_OF_SIX.write)
    assert not all(read & write for read in quorums(FIRST.counting, FOUR_OF_SIX.read) for write in writes)


# -- the writer's part -------------------------------------------------------------------------------------------------


def having(told: Membership, copy: str, lsn: int, **said: object) -> VolumeCopyAcknowledged:
    """`copy` holds everything up to `lsn` and has stored `told`."""
    word = ack(copy, lsn, epoch=E1, **said)  # type: ignore[arg-type]
    return msgspec.structs.replace(
        word,
        membership_version=told.version,
        membership_epoch=told.epoch,
        membership_settled=told.settled,
    )


def test_a_version_is_settled_by_a_write_quorum_of_each_set_that_holds_everything_durable() -> None:
    """Not by three, not by copies that are behind, not by the new one before it counts."""
    joint = FIRST.replacing("a2").of_epoch(E1)
    tracker = QuorumTracker(epoch=E1)
    for copy in ("a1", "a2", "b1", "b2"):
        tracker.on_ack(ack(copy, 9))
    assert tracker.durable_lsn == 9
    tracker.use(joint)
    for copy, lsn in (("a1", 9), ("a2", 9), ("b1", 9), ("b2", 9), ("c1", 8)):
        assert changing.following(tracker) is None
        tracker.on_ack(having(joint, copy, lsn, sequence=2))
    tracker.on_ack(having(joint, "a3", 9, joining=True))
    assert changing.following(tracker) is None, "of the new set a1, b1 and b2 hold it"
    tracker.on_ack(having(joint, "c1", 9, sequence=3))
    assert changing.following(tracker) == joint.settle()


def test_the_second_step_comes_once_the_new_copy_counts() -> None:
    """And the old copy's word counts for nothing once that is settled."""
    joint = FIRST.replacing("a2").of_epoch(E1).settle()
    tracker = QuorumTracker(epoch=E1, membership=joint)
    for copy in ("a1", "b1", "b2", "c1"):
        tracker.on_ack(having(joint, copy, 9))
    tracker.on_ack(having(joint, "a3", 0, joining=True))
    assert changing.following(tracker) is None
    tracker.on_ack(having(joint, "a3", 9, sequence=2))
    done = changing.following(tracker)
    assert done == joint.replaced()
    tracker.use(done)
    for copy in ("a1", "b1", "b2", "c1"):
        tracker.on_ack(having(done, copy, 9, sequence=2))
    assert changing.following(tracker) == done.settle()
    tracker.use(done.settle())
    for copy in ("a1", "b1"):
        tracker.on_ack(having(done, copy, 20, sequence=3))
    for copy in ("a2", "d1"):
        tracker.on_ack(having(done, copy, 20, sequence=9))
    assert tracker.durable_lsn == 9
    assert "a2" not in tracker.copies


def test_copies_are_told_until_they_have_the_word() -> None:
    """Not twice within a while, and not the first six about what they always were."""
    telling, joint = changing.Telling(retry_s=1.0), FIRST.replacing("a2").of_epoch(E1)
    tracker = QuorumTracker(epoch=E1)
    for copy in ("a1", "b1"):
        tracker.on_ack(ack(copy, 9))
    assert telling.due(tracker, 0.0) == []
    tracker.use(joint)
    assert telling.due(tracker, 0.0) == ["a1", "b1"]
    assert telling.due(tracker, 0.5) == []
    tracker.on_ack(having(joint, "a1", 9, sequence=2))
    assert telling.due(tracker, 1.5) == []
    assert telling.due(tracker, 2.5) == ["b1"]
    assert telling.due(tracker, 4.5) == [], "it says nothing any more"
    tracker.on_ack(ack("b1", 10, sequence=2))
    assert telling.due(tracker, 4.6) == ["b1"]
    tracker.use(joint.settle())
    assert telling.due(tracker, 4.7) == ["a1", "b1"]


def test_a_removed_copy_is_told_some_times_and_again_once_it_speaks() -> None:
    """Not one that nobody knows: it may be about to become a member."""
    telling, done = changing.Telling(), FIRST.replacing("a2").settle().replaced().settle().of_epoch(E1)
    tracker = QuorumTracker(epoch=E1, membership=done)
    for copy in ("a2", "a4"):
        telling.on_other(ack(copy, 9))
    told = [telling.due(tracker, 100.0 * hour) for hour in range(20)]
    assert told == [["a2"]] * changing.OTHERS_TOLD_MAX + [[]] * (20 - changing.OTHERS_TOLD_MAX)
    telling.on_other(ack("a2", 9, incarnation=2))
    assert telling.due(tracker, 3000.0) == ["a2"]


# -- recovery ----------------------------------------------------------------------------------------------------------


def reported(recovery: Recovery, copy: str, told: Membership = FIRST) -> None:
    word = having(told, copy, 9)
    recovery.on_ack(msgspec.structs.replace(word, epoch=recovery.epoch), 0.0)


def test_a_recovery_that_hears_of_a_newer_membership_learns_it_and_waits_for_its_members() -> None:
    """Three of the old set are not enough where one of them knows of a new one."""
    joint = FIRST.replacing("a2").of_epoch(E1)
    recovery = Recovery(7, grace_s=1.0)
    recovery.begin(E1)
    reported(recovery, "a1", joint)
    reported(recovery, "a2")
    reported(recovery, "b1")
    assert (recovery.state, recovery.newer()) == (State.BUMPING, ["a1"])
    assert recovery.learn(joint, 0.0), "of the new set only a1 and b1 have reported"
    assert not recovery.learn(joint, 0.0)
    reported(recovery, "a3", joint)
    states = [recovery.state]
    reported(recovery, "c1", joint.settle())
    recovery.on_time(5.0)
    states.append(recovery.state)  # what is settled is a later word
    assert recovery.learn(joint.settle(), 5.0)
    recovery.on_time(7.0)
    assert [*states, recovery.state] == [State.GATHERING, State.GATHERING, State.TRUNCATING]


def test_a_stranger_neither_reports_nor_supersedes() -> None:
    """A copy that was replaced may have read a bump that no member has."""
    recovery = Recovery(7, grace_s=1.0)
    recovery.begin(E1)
    for copy in ("a1", "b1", "x1", "a9"):
        reported(recovery, copy)
    assert (sorted(recovery.reports), recovery.state) == (["a1", "b1"], State.BUMPING)
    recovery.on_ack(msgspec.structs.replace(ack("a3", 9), epoch=recovery.epoch + 9), 0.0)
    assert recovery.state is State.BUMPING


# -- a copy's part -----------------------------------------------------------------------------------------------------


def test_a_copy_keeps_the_newest_word_and_none_of_a_writer_that_was_followed() -> None:
    """The later epoch's word counts, whatever its version."""
    node = StorageNode[int]("default", "a2")
    node.take(bump(E1), 0)
    joint = FIRST.replacing("a2")
    assert node.take(membership(joint.of_epoch(E1)), 0)
    assert not node.take(membership(joint.of_epoch(E1)), 0), "nothing new"
    assert node.take(membership(joint.of_epoch(E1).settle()), 0)
    assert node.acknowledgement().membership_version == 1
    assert node.take(membership(FIRST.of_epoch(E2)), 0), "a later writer had not heard of it"
    assert node.epoch == E2
    assert node.membership.sets == (COPIES,)
    assert not node.take(membership(joint.settle().replaced().of_epoch(E1)), 0)
    assert not node.removed
    done = joint.settle().replaced().of_epoch(E3)
    assert node.take(membership(done), 0)
    assert not node.removed, "not settled"
    assert node.take(membership(done.settle()), 0)
    assert node.removed


def test_a_copy_has_its_membership_after_a_restart_from_a_checkpoint() -> None:
    """It is part of what a segment begins with; an older checkpoint has none."""
    node = StorageNode[int]("default", "a1")
    node.take(bump(E1), 0)
    node.take(membership(FIRST.replacing("a2").of_epoch(E1)), 0)
    stored = msgspec.json.encode(node.state())
    again = StorageNode[int]("default", "a1")
    again.restore(msgspec.json.decode(stored, type=NodeState[int]))
    assert again.membership == node.membership
    older = msgspec.json.decode(stored)
    del older["membership"]
    again.restore(msgspec.convert(older, NodeState[int]))
    assert again.membership == FIRST
