"""A consumer group: who has which partition, and how it moves from one member to another. Pure.

Each partition of the group goes through these states; `deliver` is told of what happens and answers with what to do.

    FREE     --granted-->   OWNED      the target member is told, it reads from the committed offset
    OWNED    --moved-->     REVOKING   the owner is asked to finish; it still owns the partition
    REVOKING --released-->  FREE       the listener returned
    REVOKING --expired-->   FREE       the deadline passed; the owner is told that it lost the partition
    OWNED    --left-->      FREE       the member closed or died (also from REVOKING)
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sixfold.bus.embedded import assignment


class Verb(enum.Enum):
    """What to tell a member."""

    GRANT = "grant"
    REVOKE = "revoke"
    LOSE = "lose"


class Action(NamedTuple):
    """Tell `member` about `partitions`."""

    verb: Verb
    member: int
    partitions: tuple[int, ...]
    serial: int = 0
    """Of a REVOKE; `expire` is told it, so that an old deadline does not end a later revocation."""


class Group:
    """Members and ownership of one group. Members are numbers, never used again."""

    def __init__(self) -> None:
        self.members: dict[int, frozenset[str]] = {}
        self._owner: dict[int, int] = {}
        self._revoking: dict[int, int] = {}
        self._serial = 0

    def owns(self, member: int, partition: int) -> bool:
        """True until the partition is released, lost or the member left."""
        return self._owner.get(partition) == member

    def owned(self, member: int) -> list[int]:
        """What `member` has."""
        return [partition for partition, owner in self._owner.items() if owner == member]

    def join(self, member: int, topics: frozenset[str], claims: Iterable[int] = ()) -> list[int]:
        """A member comes; returns those of its `claims` that nobody else has, which it keeps."""
        self.members[member] = topics
        held = [partition for partition in claims if partition not in self._owner]
        self._owner.update(dict.fromkeys(held, member))
        return held

    def replace(self, old: int, new: int, topics: frozenset[str]) -> list[int]:
        """A static member came back on a new connection: `new` takes over all that `old` had, and gets it granted."""
        inherited = self.owned(old)
        self.leave(old)
        self.members[new] = topics
        return inherited

    def leave(self, member: int) -> None:
        """A member closed or died: what it had is free at once."""
        self.members.pop(member, None)
        self.release(member, self.owned(member))

    def release(self, member: int, partitions: Iterable[int]) -> list[int]:
        """The member gives partitions back; returns those that were its own."""
        released = [partition for partition in partitions if self.owns(member, partition)]
        for partition in released:
            del self._owner[partition]
            self._revoking.pop(partition, None)
        return released

    def expire(self, revoke: Action) -> list[Action]:
        """The deadline of a revocation passed; what is still not released is taken away."""
        late = [partition for partition in revoke.partitions if self._revoking.get(partition) == revoke.serial]
        self.release(revoke.member, late)
        return [Action(Verb.LOSE, revoke.member, tuple(late))] if late else []

    def rebalance(
        self, partitions: Mapping[str, Sequence[int]], prefer: Mapping[int, int] | None = None, *, give: bool = True
    ) -> list[Action]:
        """Steps toward the balanced assignment over `partitions` (ids by topic) that can be taken now.

        `prefer` names members for free partitions; `give=False` only takes away what no longer exists.
        """
        existing = {partition for ids in partitions.values() for partition in ids}
        lost: dict[int, list[int]] = {}
        for partition, owner in list(self._owner.items()):
            if partition not in existing:
                lost.setdefault(owner, []).append(partition)
                self.release(owner, [partition])
        actions = [Action(Verb.LOSE, member, tuple(ids)) for member, ids in lost.items()]
        if not give:
            return actions
        target = assignment.assign(self.members, partitions, {**(prefer or {}), **self._owner})
        self._serial += 1
        grants: dict[int, list[int]] = {}
        revokes: dict[int, list[int]] = {}
        held_back = self._held_back(partitions, target)
        for partition, member in target.items():
            owner_now = self._owner.get(partition)
            if owner_now is None and partition not in held_back:
                self._owner[partition] = member
                grants.setdefault(member, []).append(partition)
            elif owner_now not in (None, member) and partition not in self._revoking:
                self._revoking[partition] = self._serial
                revokes.setdefault(self._owner[partition], []).append(partition)
        actions += [Action(Verb.REVOKE, member, tuple(sorted(ids)), self._serial) for member, ids in revokes.items()]
        actions += [Action(Verb.GRANT, member, tuple(sorted(ids))) for member, ids in grants.items()]
        return actions

    def _held_back(self, partitions: Mapping[str, Sequence[int]], target: Mapping[int, int]) -> set[int]:
        """Partitions that wait for others of their number, which another member has yet to give up."""
        return {
            partition
            for ids in assignment.shares_of(self.members, partitions).values()
            if any(self._owner.get(each) not in (None, target[each]) for each in ids)
            for partition in ids
        }
