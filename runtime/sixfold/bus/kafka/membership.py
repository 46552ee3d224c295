"""Which partitions a consumer holds, from the moment they come until they are given up.

Partitions arrive held: nothing of them is fetched until their owner was fenced, their tables are restored and their
start is known; that happens beside aiokafka's own task, which must go on sending heartbeats. They go only after the
listener returned or its deadline passed, because aiokafka answers the rebalance after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from aiokafka import ConsumerRebalanceListener
from aiokafka import errors as kafka

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import lifecycle, topics

_log = logging.getLogger(__name__)

RETRY_S = 0.2
LEAVE_S = 10.0
"""How long a takeover may go on that a closing consumer interrupts: the clients that it opens are closed first."""


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The partitions of one consumer."""

    def __init__(
        self,
        clock: clocks.Clock,
        listener: port.Listener | None,
        *,
        prepare: Callable[[Sequence[port.TopicPartition]], Awaitable[None]],
        release: Callable[[], Awaitable[None]],
        revoke_timeout_s: float,
    ) -> None:
        self._clock = clock
        self._listener = listener
        self._prepare = prepare
        self._release = release
        self._revoke_timeout_s = revoke_timeout_s
        self._client: Any = None
        self._taking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._leaving = False
        self.taken_over = False
        """Whether the owned partitions are prepared: their tables can be read."""
        self.owned: frozenset[port.TopicPartition] = frozenset()
        self._numbers_of = self.owned
        self._numbers: frozenset[int] = frozenset()
        self.ready = asyncio.Event()
        """Set while the owned partitions are fetched."""
        self.changed = asyncio.Event()
        """Set once partitions were assigned for the first time, or a failure was met."""
        self.paused: set[port.TopicPartition] = set()
        self.failure: BaseException | None = None
        """What a listener raised, or why nothing can be had; the next fetch raises it."""

    @property
    def numbers(self) -> frozenset[int]:
        """Of the owned partitions."""
        if self._numbers_of is not self.owned:
            self._numbers_of = self.owned
            self._numbers = frozenset(partition.partition for partition in self.owned)
        return self._numbers

    def watch(self, client: Any) -> None:
        """The aiokafka consumer whose partitions these are."""
        self._client = client
        abort = client._subscription.abort_waiters

        def aborted(error: BaseException) -> None:
            abort(error)
            self._refused(error)

        client._subscription.abort_waiters = aborted

    def _refused(self, error: BaseException) -> None:
        """The brokers do not let it join: aiokafka would tell a fetch, which nobody calls before partitions came."""
        if isinstance(error, kafka.GroupAuthorizationFailedError) and not self.changed.is_set():
            group = error.args[0] if error.args else "this one"
            self._fail(
                port.BusRefusedError(
                    f"Kafka lets this user not join group {group}; it needs Read on the group (see `sixfold acl`)"
                )
            )

    def hold(self) -> None:
        """Fetch nothing of what has just been assigned: no await lies between the assignment and this."""
        for partition in self._client._subscription.assigned_partitions():
            self._client.pause(partition)
            self._client._subscription.seek(partition, 0)  # a position, so that aiokafka looks for none

    def take(self, partitions: Iterable[port.TopicPartition]) -> None:
        """Partitions came: prepare them and begin to fetch."""
        self.owned = frozenset(partitions)
        self.taken_over = False
        self._taking = asyncio.create_task(self._take(sorted(self.owned)))

    async def _take(self, partitions: Sequence[port.TopicPartition]) -> None:
        while True:
            try:
                await self._prepare(partitions)
                break
            except port.FencedError:
                return  # the group has moved on; it will say so
            except Exception as error:
                if not isinstance(error, port.BusUnavailableError):
                    self._fail(error)
                    return
                _log.warning("cannot take over %s yet: %s", partitions, error)
                await self._clock.sleep(RETRY_S)
        self.taken_over = True
        if self._listener is not None and partitions:
            try:
                await self._listener.on_assigned(partitions)
            except Exception as error:
                self._fail(error)
                return
        self.ready.set()
        self.changed.set()
        self._client.resume(*(topics.kafka_partition(p) for p in partitions if p not in self.paused))

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.ready.set()
        self.changed.set()

    async def give_up(self, *, lost: bool) -> None:
        """The partitions go: let the listener finish first, unless they are gone already."""
        if self._taking is not None:
            if not self.taken_over:
                self._taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self._taking})
            self._taking = None
        partitions = sorted(self.owned)
        self.ready.clear()
        try:
            if partitions and self.taken_over and self._listener is not None and not self._leaving:
                await self._tell(self._listener, partitions, lost=lost)
        finally:
            self.owned = frozenset()
            self.paused.clear()
            await self._release()

    async def _tell(self, listener: port.Listener, partitions: Sequence[port.TopicPartition], *, lost: bool) -> None:
        if lost:
            self.owned = frozenset()
        call = listener.on_lost if lost else listener.on_revoked
        self._telling = asyncio.ensure_future(call(partitions))
        done, _ = await asyncio.wait({self._telling}, timeout=self._revoke_timeout_s)
        if not done:
            _log.warning("gave up %s after %g s, before its work was finished", partitions, self._revoke_timeout_s)
            self._telling.cancel()
            self.owned = frozenset()
            await listener.on_lost(partitions)
        elif not self._telling.cancelled() and (error := self._telling.exception()):
            self.failure = error
        self._telling = None

    async def leave(self) -> None:
        """The consumer closes: its user has finished, so nobody is told."""
        self._leaving = True
        if self._telling is not None:
            self._telling.cancel()
        if self._taking is not None:
            await lifecycle.end(self._taking, LEAVE_S)
            self._taking = None
        self.ready.clear()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called by aiokafka before it joins the group again."""
        await self.give_up(lost=self._client._coordinator.generation <= 0)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Called by aiokafka after the group has agreed."""
        self.take(port.TopicPartition(partition.topic, partition.partition) for partition in assigned)
