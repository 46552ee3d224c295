"""The pure state machine of a consumer group."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sixfold.bus.embedded.group import Action, Group, Verb

TOPIC = frozenset({"t"})
PARTITIONS = {"t": [1, 2, 3, 4]}


def test_a_partition_goes_to_the_new_member_only_after_the_old_one_has_released_it() -> None:
    """Moving is: revoke, released, grant; until then the old member owns it."""
    group = Group()
    group.join(1, TOPIC)
    assert group.rebalance(PARTITIONS) == [Action(Verb.GRANT, 1, (1, 2, 3, 4))]
    group.join(2, TOPIC)
    (revoke,) = group.rebalance(PARTITIONS)
    assert (revoke.verb, revoke.member, len(revoke.partitions)) == (Verb.REVOKE, 1, 2)
    assert all(group.owns(1, partition) for partition in revoke.partitions)
    assert group.rebalance(PARTITIONS) == []
    group.release(1, revoke.partitions)
    assert group.rebalance(PARTITIONS) == [Action(Verb.GRANT, 2, revoke.partitions)]


def test_a_member_that_does_not_release_in_time_loses_the_partition() -> None:
    """After the deadline the old member is told that it lost it, and does not own it any more."""
    group = Group()
    group.join(1, TOPIC)
    group.rebalance(PARTITIONS)
    group.join(2, TOPIC)
    (revoke,) = group.rebalance(PARTITIONS)
    assert group.expire(revoke) == [Action(Verb.LOSE, 1, revoke.partitions)]
    assert not any(group.owns(1, partition) for partition in revoke.partitions)
    assert group.expire(revoke) == []
    assert group.rebalance(PARTITIONS) == [Action(Verb.GRANT, 2, revoke.partitions)]


def test_partitions_of_one_number_are_given_together() -> None:
    """While the old member still has one of them, the new one gets none: a table never has two writers."""
    both, partitions = frozenset({"t", "u"}), {"t": [1, 2], "u": [3, 4]}
    group = Group()
    group.join(1, both)
    assert group.rebalance(partitions) == [Action(Verb.GRANT, 1, (1, 2, 3, 4))]
    group.join(2, both)
    (revoke,) = group.rebalance(partitions)
    assert revoke.partitions in {(1, 3), (2, 4)}
    group.release(1, revoke.partitions[:1])
    assert group.rebalance(partitions) == []
    group.release(1, revoke.partitions[1:])
    assert group.rebalance(partitions) == [Action(Verb.GRANT, 2, revoke.partitions)]


def test_an_old_deadline_does_not_end_a_later_revocation() -> None:
    """A partition that is revoked again has its whole time again."""
    group = Group()
    group.join(1, TOPIC)
    group.rebalance(PARTITIONS)
    group.join(2, TOPIC)
    (first,) = group.rebalance(PARTITIONS)
    group.release(1, first.partitions)
    group.rebalance(PARTITIONS)
    group.leave(2)
    group.rebalance(PARTITIONS)
    group.join(3, TOPIC)
    (second,) = group.rebalance(PARTITIONS)
    assert second.partitions == first.partitions
    assert group.expire(first) == []
    assert len(group.expire(second)) == 1


def test_a_member_that_comes_back_keeps_what_nobody_else_has() -> None:
    """Claims hold where the partition is free; what another member has is not taken from it."""
    group = Group()
    assert group.join(1, TOPIC, claims=[1, 2]) == [1, 2]
    assert group.join(2, TOPIC, claims=[2, 3]) == [3]
    assert group.rebalance(PARTITIONS, give=False) == []
    assert group.rebalance(PARTITIONS) == [Action(Verb.GRANT, 2, (4,))]


def test_partitions_of_a_deleted_topic_are_lost() -> None:
    """Its owner is told, and the group owns nothing of it any more."""
    group = Group()
    group.join(1, TOPIC)
    group.rebalance(PARTITIONS)
    assert group.rebalance({}) == [Action(Verb.LOSE, 1, (1, 2, 3, 4))]
    assert group.owned(1) == []


class GroupMachine(RuleBasedStateMachine):
    """Members come, go and release in any order; each believes what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.group = Group()
        self.next_member = 1
        self.believes: dict[int, set[int]] = {}
        self.revoking: dict[int, set[int]] = {}

    def _rebalance(self) -> None:
        for verb, member, partitions, _ in self.group.rebalance(PARTITIONS):
            if verb is Verb.GRANT:
                for other, held in self.believes.items():
                    assert not held & set(partitions), f"granted to {member} while {other} has it"
                self.believes[member] |= set(partitions)
            elif verb is Verb.REVOKE:
                self.revoking[member] |= set(partitions)

    @rule()
    def join(self) -> None:
        """A member comes."""
        member, self.next_member = self.next_member, self.next_member + 1
        self.believes[member], self.revoking[member] = set(), set()
        self.group.join(member, TOPIC)
        self._rebalance()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A member dies."""
        if self.believes:
            member = data.draw(st.sampled_from(sorted(self.believes)))
            del self.believes[member], self.revoking[member]
            self.group.leave(member)
            self._rebalance()

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A listener returns."""
        if busy := [member for member, partitions in self.revoking.items() if partitions]:
            member = data.draw(st.sampled_from(busy))
            released, self.revoking[member] = self.revoking[member], set()
            self.believes[member] -= released
            self.group.release(member, released)
            self._rebalance()

    @invariant()
    def members_own_what_they_believe(self) -> None:
        """Nobody believes to own what the group gave to another."""
        for member, held in self.believes.items():
            assert held == set(self.group.owned(member))

    def teardown(self) -> None:
        """When all listeners have returned, everything is assigned, evenly."""
        while any(self.revoking.values()):
            for member in self.believes:
                released, self.revoking[member] = self.revoking[member], set()
                self.believes[member] -= released
                self.group.release(member, released)
            self._rebalance()
        if self.believes:
            counts = [len(held) for held in self.believes.values()]
            assert sum(counts) == 4
            assert max(counts) - min(counts) <= 1


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
