"""A consumer on Kafka: fetches, and settles what became of the records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import LeaveGroupRequest

from sixfold import errors
from sixfold.bus import checking, port
from sixfold.bus.kafka import (
    assignor,
    bootstrap,
    connecting,
    failures,
    lifecycle,
    membership,
    reading,
    records,
    settling,
    topics,
)
from sixfold.bus.kafka import standby as standby_

STOP_S = 10.0
"""How long leaving a group and closing may take."""
INT32_MAX = 2**31 - 1
LOOK_MS = 1_000
"""aiokafka looks through a consumer's partitions when something happened to them, and this often besides. By itself it
would five times a second: two hundredths of a core for fifty functions that do nothing."""


class KafkaConsumer:
    """`port.Consumer`: a member of a group (`names`), or a reader of pinned partitions (`pinned`)."""

    def __init__(
        self,
        shared: settling.Shared,
        *,
        group: str | None,
        names: Sequence[str] = (),
        pinned: Sequence[port.TopicPartition] = (),
        start: port.Start = port.EARLIEST,
        listener: port.Listener | None = None,
        member: str | None = None,
        revoke_timeout_s: float = 30.0,
        standby: bool = False,
    ) -> None:
        self._shared = shared
        self._group = group
        self._names = list(names)
        self._pinned = list(pinned)
        self._start = start
        self._member = member
        self._revoke_timeout_s = revoke_timeout_s
        self._client: Any = None
        self._alive_s = 0.0
        self._settling = settling.Settling(shared, group or "", check_owned=self._check_owned, rejoin=self._rejoin)
        self._standby = (
            standby_.Standby(group or "", self._settling.tables.restorer, shared.clock, shared.settings)
            if standby
            else None
        )
        self._members = membership.Membership(
            shared.clock,
            listener,
            prepare=self._prepare,
            release=self._settling.release,
            revoke_timeout_s=revoke_timeout_s,
        )
        self._readable: set[tuple[str, int]] = set()
        """Partitions of tables of which reading was found to be in order, while the member owns what it did then."""
        self._readable_of = self._members.owned

    async def __aenter__(self) -> Self:
        for name in self._names or sorted({partition.topic for partition in self._pinned}):
            await self._shared.admin.find(name)
        for partition in self._pinned:
            await self._shared.admin.check(partition)
        settings = self._shared.settings
        self._client = self._new_client(await bootstrap.answering(self._shared.bootstrap, settings.connect_timeout_s))
        self._members.watch(self._client)
        try:
            with self._translated("joining"):
                await lifecycle.start(self._client, settings.request_timeout_s)
                records.install(self._client)
                self._shared.patience.add(self._client._fetcher)
                if self._names:
                    self._watch_heartbeats()
                    self._client.subscribe(self._names, listener=self._members)
                else:
                    self._client.assign([topics.kafka_partition(partition) for partition in self._pinned])
                    self._members.hold()
                    self._members.take(self._pinned)
                async with asyncio.timeout(self._revoke_timeout_s + self._shared.settings.session_timeout_s + STOP_S):
                    await self._members.changed.wait()
            self._raise_failure()
        except BaseException:
            await self._stop()
            raise
        return self

    def _new_client(self, begin: str) -> Any:
        settings = self._shared.settings
        return AIOKafkaConsumer(
            bootstrap_servers=begin,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # for positions that retention took meanwhile; starts are found in _prepare
            isolation_level="read_committed",
            partition_assignment_strategy=(assignor.Assignor(self._members.hold),),
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_s * 1000),
            rebalance_timeout_ms=int((self._revoke_timeout_s + settings.session_timeout_s) * 1000),
            max_poll_interval_ms=INT32_MAX,  # the worker's watchdog judges progress; a slow handler is no dead member
            fetch_max_wait_ms=settings.fetch_wait_ms,
            consumer_timeout_ms=LOOK_MS,
            max_partition_fetch_bytes=settings.fetch_partition_bytes,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            retry_backoff_ms=settings.retry_backoff_ms,
            client_rack=settings.rack,
            **connecting.options(settings),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await lifecycle.to_its_end(self._close(client))

    async def _close(self, client: Any) -> None:
        self._shared.patience.remove(client._fetcher)
        await self._members.leave()
        if self._standby is not None:
            await self._standby.stop()
        if not await lifecycle.stop(self._leave(client), client._client, STOP_S):
            _give_up(client)
        self._members.owned = frozenset()
        await self._settling.release()
        self._settling.tables.close()

    async def _leave(self, client: Any) -> None:
        """aiokafka keeps a static member's place when it closes; the port says that its partitions go at once."""
        coordinator = client._coordinator
        try:
            if self._member is not None and self._names and coordinator is not None and coordinator.generation > 0:
                await coordinator._send_req(LeaveGroupRequest(self._group, coordinator.member_id))
        finally:
            await client.stop()

    def _watch_heartbeats(self) -> None:
        """Note when the coordinator last knew us: after a session timeout without that, others own our partitions."""
        coordinator, clock, settings = self._client._coordinator, self._shared.clock, self._shared.settings
        beat = coordinator._do_heartbeat

        async def noted() -> bool:
            beat_s = self._shared.patience.beat_s
            if beat_s > settings.heartbeat_s:  # which is all that aiokafka waits, less what the heartbeat takes
                await asyncio.sleep(beat_s)
            sent_s = clock.monotonic()
            alive: bool = await beat()
            if alive:
                self._alive_s = sent_s
            return alive

        coordinator._do_heartbeat = noted

    def _translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return failures.translated(self._shared.bootstrap, f"{doing} ({self._group or 'no group'})")

    def _raise_failure(self) -> None:
        failure, self._members.failure = self._members.failure, None
        if failure is not None:
            raise failure

    async def _prepare(self, partitions: Sequence[port.TopicPartition]) -> None:
        """Fence the last owner, restore the tables, find where to start."""
        self._alive_s = self._shared.clock.monotonic()
        if self._standby is not None:
            await self._standby.stop()
        starts: dict[port.TopicPartition, int] = {}
        with self._translated("taking over partitions"):
            if self._group is not None and partitions:
                starts = await self._settling.take_over(self._client, partitions, fence=bool(self._names))
            unknown = [partition for partition in partitions if partition not in starts]
            async with asyncio.timeout(self._shared.settings.request_timeout_s):
                starts.update(await reading.positions(self._client, unknown, self._start))
            for partition, offset in starts.items():
                self._client.seek(topics.kafka_partition(partition), offset)
        if self._standby is not None:
            self._standby.follow({partition.partition for partition in partitions})

    def assignment(self) -> frozenset[port.TopicPartition]:
        return self._members.owned if self._members.ready.is_set() else frozenset()

    async def fetch(
        self, *, records_max: int = 500, wait_s: float = 0.5
    ) -> dict[port.TopicPartition, list[port.Record]]:
        deadline = self._shared.clock.monotonic() + wait_s
        client = self._open_client()
        try:
            async with asyncio.timeout(wait_s + 0.05):  # aiokafka waits for a rebalance to end, however long
                await self._members.ready.wait()
                self._raise_failure()
                left_s = max(0.0, deadline - self._shared.clock.monotonic())
                with self._translated("fetching"):
                    found = await client.getmany(timeout_ms=int(left_s * 1000), max_records=records_max)
        except TimeoutError:
            return {}
        return {
            port.TopicPartition(partition.topic, partition.partition): records for partition, records in found.items()
        }

    def position(self, partition: port.TopicPartition) -> int:
        client = self._open_client()
        if partition not in self._members.owned:
            raise errors.UsageError(f"{partition.topic}:{partition.partition} is not assigned; see `assignment()`")
        state = client._subscription.subscription.assignment.state_value(topics.kafka_partition(partition))
        # None while aiokafka asks where the log begins, after retention took the offset that it stood at.
        return int(state.position) if state.has_valid_position else 0

    def _open_client(self) -> Any:
        if self._client is None:
            raise errors.UsageError("the consumer is not open; use it inside `async with`")
        return self._client

    async def settle(
        self,
        *,
        records: Sequence[port.NewRecord] = (),
        state: port.State | None = None,
        offsets: Mapping[port.TopicPartition, int] | None = None,
        notes: Mapping[port.TopicPartition, str] | None = None,
        atomic: bool = False,
    ) -> None:
        state, offsets = state or {}, offsets or {}
        client = self._open_client()
        if self._group is None and (offsets or state):
            raise errors.UsageError("offsets and state belong to a group; give `assign` one")
        await self._settling.settle(client, records, state, offsets, notes or {}, atomic=atomic)

    async def note(self, partition: port.TopicPartition) -> str:
        return self._settling.note(partition)

    def _check_owned(self, partitions: Collection[port.TopicPartition]) -> None:
        taken = [partition for partition in partitions if partition not in self._members.owned]
        if taken:
            raise failures.fenced(", ".join(map(str, taken)))
        silent_s = self._shared.clock.monotonic() - self._alive_s
        if self._names and partitions and silent_s > self._shared.settings.session_timeout_s:
            raise failures.fenced(", ".join(map(str, partitions)), f"no heartbeat for {silent_s:.1f} s")

    def _rejoin(self) -> None:
        """Have the group assigned anew, so that what is ours is taken over again."""
        if self._names:
            self._client._coordinator.request_rejoin()

    @property
    def standby_lag(self) -> int | None:
        return None if self._standby is None else self._standby.lag

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        members = self._members
        if self._readable_of is not members.owned or (table, partition) not in self._readable or not members.taken_over:
            self._check_state(table, partition)
        return self._settling.tables.get(table, partition, key)

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        self._check_state(table, partition)
        rows: list[tuple[bytes, bytes]] = []
        while page := self._settling.tables.page(table, partition, rows[-1][0] if rows else None):
            rows += page
            await asyncio.sleep(0)  # a large table must not keep heartbeats waiting
        return rows

    def _check_state(self, table: str, partition: int) -> None:
        checking.table(table)
        if self._group is None:
            raise errors.UsageError("this consumer has no group, so no state; give `assign` a group")
        if not self._members.taken_over or partition not in self._members.numbers:
            raise failures.fenced(f"table {table!r} of partition {partition}")
        if self._readable_of is not self._members.owned:
            self._readable_of, self._readable = self._members.owned, set()
        self._readable.add((table, partition))

    async def seek(self, partition: port.TopicPartition, offset: int) -> None:
        client = self._open_client()
        checking.offset(partition, offset)
        if partition not in self.assignment():
            raise failures.fenced(partition)
        client.seek(topics.kafka_partition(partition), offset)

    def pause(self, partitions: Sequence[port.TopicPartition]) -> None:
        self._members.paused.update(self._members.owned.intersection(partitions))
        for partition in self.assignment().intersection(partitions):
            self._client.pause(topics.kafka_partition(partition))

    def resume(self, partitions: Sequence[port.TopicPartition]) -> None:
        self._members.paused.difference_update(partitions)
        for partition in self.assignment().intersection(partitions):
            self._client.resume(topics.kafka_partition(partition))


def _give_up(client: Any) -> None:
    """The client did not close: keep it from sending heartbeats, with which the group would wait for it."""
    coordinator, fetcher = client._coordinator, client._fetcher
    for holder, names in ((coordinator, ("_coordination_task", "_heartbeat_task")), (fetcher, ("_fetch_task",))):
        for task in (getattr(holder, name, None) for name in names):
            if task is not None:
                task.cancel()
