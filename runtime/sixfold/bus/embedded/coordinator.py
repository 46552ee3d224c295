"""The owner's side of consumer groups: carries out what `group` decides, over the members' connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import apsw

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import catalogue as catalogue_
from sixfold.bus.embedded import group as group_
from sixfold.bus.embedded import progress as progress_
from sixfold.bus.embedded import session as session_
from sixfold.bus.embedded import store as store_
from sixfold.bus.embedded import wire

STATIC_S = 10.0
"""How long a member with a name, whose process died, keeps its partitions: Kafka's old default session timeout."""


class _Member(NamedTuple):
    session: session_.Session
    join: wire.Join
    number: int


class Coordinator:
    """All groups. Used by the owner's thread alone."""

    def __init__(
        self,
        store: store_.Store,
        progress: progress_.Progress,
        catalogue: catalogue_.Catalogue,
        loop: asyncio.AbstractEventLoop,
        *,
        grace_s: float,
        broken: Callable[[Exception], None],
    ) -> None:
        """For `grace_s` nothing is assigned but to members that come back with claims: the last owner died.

        `broken` is told where something that was due could not be done.
        """
        self._store = store
        self._progress = progress
        self._catalogue = catalogue
        self._loop = loop
        self._broken = broken
        self._groups: dict[str, group_.Group] = {}
        self._members: dict[int, _Member] = {}
        self._by_consumer: dict[tuple[int, int], _Member] = {}
        self._silent: set[int] = set()
        """Static members whose connection closed: what they have is kept for them."""
        self._next_number = 1
        self._graceful = grace_s > 0
        if self._graceful:
            loop.call_later(grace_s, self._end_grace)

    @property
    def active(self) -> bool:
        """True while any group has members."""
        return bool(self._members)

    def _end_grace(self) -> None:
        self._graceful = False
        self._rebalance_due(list(self._groups))

    def _rebalance_due(self, groups: Iterable[str]) -> None:
        try:
            self.rebalance(groups)
        except apsw.Error as error:
            self._broken(error)

    def owns(self, session: session_.Session, consumer: int, partition: int) -> bool:
        """True where the consumer is a member that has the partition."""
        member = self._by_consumer.get((session.number, consumer))
        return member is not None and self._groups[member.join.group].owns(member.number, partition)

    def join(self, session: session_.Session, join: wire.Join) -> None:
        """A consumer joins its group, or comes back after the owner changed."""
        missing = [topic for topic in join.topics if topic not in self._catalogue.topics]
        if missing and not join.claims:
            self._refuse(session, join, catalogue_.unknown(missing[0]))
            return
        group = self._groups.setdefault(join.group, group_.Group())
        member = _Member(session, join, self._next_number)
        self._next_number += 1
        prefer: dict[int, int] = {}
        twin = self._twin(join)
        if twin is not None:
            prefer = dict.fromkeys(group.replace(twin.number, member.number, frozenset(join.topics)), member.number)
            self._forget(twin)
            if twin.number not in self._silent:
                twin.session.push(wire.Lost(consumer=twin.join.consumer, partitions=list(prefer)))
            self._silent.discard(twin.number)
        held = group.join(member.number, frozenset(join.topics), join.claims)
        self._members[member.number] = self._by_consumer[session.number, join.consumer] = member
        session.push(wire.Joined(consumer=join.consumer, held=held))
        self.rebalance([join.group], prefer)

    def _refuse(self, session: session_.Session, join: wire.Join, error: errors.SixfoldError) -> None:
        session.push(wire.Joined(consumer=join.consumer, held=[], kind=type(error).__name__, message=str(error)))

    def _twin(self, join: wire.Join) -> _Member | None:
        if join.member is None:
            return None
        same = (one for one in self._members.values() if (one.join.group, one.join.member) == (join.group, join.member))
        return next(same, None)

    def leave(self, session: session_.Session, consumer: int) -> None:
        """A consumer closed."""
        member = self._by_consumer.get((session.number, consumer))
        if member is not None:
            self._remove([member])

    def drop(self, session: session_.Session) -> None:
        """A connection closed, and with it its members; those with a name have `STATIC_S` to come back."""
        gone = [member for member in self._members.values() if member.session is session]
        for member in gone:
            if member.join.member is not None and member.number not in self._silent:
                self._silent.add(member.number)
                self._loop.call_later(STATIC_S, self._give_up, member.number)
        self._remove([member for member in gone if member.join.member is None])

    def _give_up(self, number: int) -> None:
        """A static member did not come back in time."""
        if number not in self._silent:
            return
        self._silent.discard(number)
        member = self._members.get(number)
        if member is not None:
            self._groups[member.join.group].leave(number)
            self._forget(member)
            self._rebalance_due([member.join.group])

    def _remove(self, members: Sequence[_Member]) -> None:
        for member in members:
            self._groups[member.join.group].leave(member.number)
            self._forget(member)
        self.rebalance({member.join.group for member in members})

    def _forget(self, member: _Member) -> None:
        del self._members[member.number]
        self._by_consumer.pop((member.session.number, member.join.consumer), None)

    def released(self, session: session_.Session, message: wire.Revoked) -> None:
        """A listener has done with what was revoked."""
        member = self._by_consumer.get((session.number, message.consumer))
        if member is not None:
            self._groups[member.join.group].release(member.number, message.partitions)
            self.rebalance([member.join.group])

    def rebalance(self, groups: Iterable[str] | None = None, prefer: Mapping[int, int] | None = None) -> None:
        """Bring groups nearer to balance; all of them where none are named, as when topics came or went."""
        for name in list(self._groups) if groups is None else groups:
            group = self._groups[name]
            if not group.members:
                del self._groups[name]
                continue
            wanted = frozenset().union(*group.members.values())
            topics = self._catalogue.topics
            partitions = {topic: topics[topic].partitions for topic in sorted(wanted) if topic in topics}
            for action in group.rebalance(partitions, prefer, give=not self._graceful):
                self._carry_out(name, action)

    def _carry_out(self, name: str, action: group_.Action) -> None:
        member = self._members[action.member]
        consumer, partitions = member.join.consumer, list(action.partitions)
        if action.member in self._silent:  # it hears nothing; what it is to give back, it gives back in time
            if action.verb is group_.Verb.REVOKE:
                self._loop.call_later(member.join.revoke_timeout_s, self._expire, name, action)
            return
        if action.verb is group_.Verb.GRANT:
            grants = [self._grant(member.join, partition) for partition in partitions]
            member.session.push(wire.Assigned(consumer=consumer, grants=grants))
        elif action.verb is group_.Verb.REVOKE:
            member.session.push(wire.Revoke(consumer=consumer, partitions=partitions))
            self._loop.call_later(member.join.revoke_timeout_s, self._expire, name, action)
        else:
            member.session.push(wire.Lost(consumer=consumer, partitions=partitions))

    def _expire(self, name: str, revoke: group_.Action) -> None:
        group = self._groups.get(name)
        actions = group.expire(revoke) if group is not None else []
        for action in actions:
            self._carry_out(name, action)
        if actions:
            self._rebalance_due([name])

    def _grant(self, join: wire.Join, partition: int) -> wire.Grant:
        log = self._store.logs[partition]
        committed = self._progress.committed_by(join.group, partition)
        if committed is not None:
            offset = committed[0] if committed[0] <= log.end else log.start
        elif join.start == port.EARLIEST.at:
            offset = log.start
        elif join.start == port.LATEST.at:
            offset = log.end
        else:
            offset = self._store.offset_at(partition, join.start_timestamp_ms)
        return wire.Grant(partition, log.topic, log.number, offset)
