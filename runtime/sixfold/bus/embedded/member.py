"""A consumer that is a member of a group: its partitions come and go as the owner rebalances the group.

The owner's words are carried out one after the other by one task, so a listener's call ends before the next begins.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import buffer, calls, consumer, wire
from sixfold.bus.embedded import link as link_
from sixfold.bus.embedded import settings as settings_

if TYPE_CHECKING:
    from sixfold.bus.embedded import client


class GroupConsumer(consumer.BaseConsumer):
    """See `port.Bus.subscribe`."""

    def __init__(
        self,
        bus: client.EmbeddedBus,
        link: link_.Link,
        settings: settings_.Settings,
        *,
        group: str,
        topics: Sequence[str],
        start: port.Start,
        listener: port.Listener | None,
        member: str | None,
        revoke_timeout_s: float,
    ) -> None:
        super().__init__(bus, link, settings, group=group)
        self._name = group
        self._topics = topics
        self._start = start
        self._listener = listener
        self._member = member
        self._revoke_timeout_s = revoke_timeout_s
        self._held: dict[port.TopicPartition, buffer.Buffer] = {}
        """Owned as far as we know: also what is being given or revoked."""
        self._orders: deque[tuple[Callable[[list[buffer.Buffer]], Awaitable[None]], list[buffer.Buffer]]] = deque()
        self._carrying: asyncio.Task[None] | None = None
        self._joined: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        for topic in self._topics:
            await self._bus.topic(topic)
        self._number = self._link.attach(self)
        self._joined = asyncio.get_running_loop().create_future()
        self._join()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._joined
        except BaseException as error:
            self._link.post(wire.Leave(consumer=self._number))  # the owner may come to the Join yet
            self._link.detach(self._number)
            self._number = 0
            if isinstance(error, TimeoutError):
                raise port.BusUnavailableError(
                    calls.silent(self._link.owner_name(), self._settings.connect_timeout_s)
                ) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._carrying is not None:
            self._carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._carrying
        self._held.clear()
        await super().__aexit__(kind, error, trace)

    def _join(self) -> None:
        self._link.post(
            wire.Join(
                consumer=self._number,
                group=self._name,
                topics=list(self._topics),
                start=self._start.at,
                start_timestamp_ms=self._start.timestamp_ms,
                member=self._member,
                revoke_timeout_s=self._revoke_timeout_s,
                claims=[one.id for one in self._held.values()],
            )
        )

    def pushed(self, message: wire.Push) -> None:
        if isinstance(message, (wire.Fetched, wire.Troubled)):
            super().pushed(message)
        elif isinstance(message, wire.Joined):
            self._take_joined(message)
        elif isinstance(message, wire.Assigned):
            self._take_grants(message.grants)
        elif isinstance(message, wire.Revoke):
            self._order(self._revoke, self._stop(message.partitions))
        else:
            self._lose(message.partitions)

    def _take_joined(self, message: wire.Joined) -> None:
        if message.kind:
            self.failed(wire.error(message.kind, message.message))
            return
        if self._joined is not None and not self._joined.done():
            self._joined.set_result(None)
        self._lose([one.id for one in self._held.values() if one.id not in message.held])

    def reconnected(self) -> None:
        # What we hold is claimed from the new owner; what the last one had yet to tell us is void.
        self._join()
        super().reconnected()

    def failed(self, error: errors.SixfoldError) -> None:
        if self._joined is not None and not self._joined.done():
            self._joined.set_exception(error)
        else:
            super().failed(error)

    def _take_grants(self, grants: Sequence[wire.Grant]) -> None:
        given = []
        for grant in grants:
            one = buffer.Buffer(port.TopicPartition(grant.topic, grant.number), grant.partition, grant.offset)
            one.active = False
            self._held[one.partition] = one
            given.append(one)
        self._order(self._give, given)

    def _stop(self, identities: Sequence[int]) -> list[buffer.Buffer]:
        """Give out no more records of these partitions."""
        stopped = [one for one in self._held.values() if one.id in identities]
        for one in stopped:
            one.revoking = True
            self._drop(one)
        return stopped

    def _lose(self, identities: Sequence[int]) -> None:
        gone = self._stop(identities)
        for one in gone:
            del self._held[one.partition]
        if gone:
            self._order(self._tell_lost, gone)

    def _order(self, step: Callable[[list[buffer.Buffer]], Awaitable[None]], partitions: list[buffer.Buffer]) -> None:
        self._orders.append((step, partitions))
        if self._carrying is None or self._carrying.done():
            self._carrying = asyncio.get_running_loop().create_task(self._carry_out(), name=f"rebalance {self._name}")

    async def _carry_out(self) -> None:
        while self._orders:
            step, partitions = self._orders.popleft()
            try:
                await step(partitions)
            except Exception as error:  # the listener's; the next fetch raises it
                self._error = error
                self._wake()

    def _still_held(self, partitions: Sequence[buffer.Buffer]) -> list[buffer.Buffer]:
        return [one for one in partitions if self._held.get(one.partition) is one]

    async def _give(self, partitions: list[buffer.Buffer]) -> None:
        given = [one for one in self._still_held(partitions) if not one.revoking]
        for one in given:
            self._hold(one)
            one.told = True
        try:
            if given and self._listener is not None:
                await self._listener.on_assigned([one.partition for one in given])
        finally:
            for one in self._still_held(given):
                one.active = not one.revoking
            self._pump()

    async def _revoke(self, partitions: list[buffer.Buffer]) -> None:
        told = [one for one in self._still_held(partitions) if one.told]
        try:
            if told and self._listener is not None:
                await self._listener.on_revoked([one.partition for one in told])
        finally:
            released = self._still_held(partitions)
            for one in released:
                del self._held[one.partition]
            if released:
                self._link.post(wire.Revoked(consumer=self._number, partitions=[one.id for one in released]))

    async def _tell_lost(self, partitions: list[buffer.Buffer]) -> None:
        told = [one.partition for one in partitions if one.told]
        if told and self._listener is not None:
            await self._listener.on_lost(told)

    def _mine(self) -> Collection[port.TopicPartition]:
        return self._held.keys()

    def _fence(self) -> int:
        return self._number

    async def _settled_id(self, partition: port.TopicPartition) -> int:
        held = self._held.get(partition)
        if held is None:
            raise port.FencedError(
                f"{partition.topic}:{partition.partition} is not this member's of group {self._name!r}: a rebalance gave "
                "it away, or it never had it. Nothing was stored; whoever has it now does the work again"
            )
        return held.id
