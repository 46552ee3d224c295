"""Consumers of the embedded bus. One fetch is always on its way to the owner, which answers when there are records."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from sixfold import errors
from sixfold.bus import checking, port
from sixfold.bus.embedded import buffer, calls, wire
from sixfold.bus.embedded import link as link_
from sixfold.bus.embedded import settings as settings_

if TYPE_CHECKING:
    from sixfold.bus.embedded import client


class _Doubt(NamedTuple):
    """A settle whose outcome is unknown. Asked for again, it is the same write: what it holds is stored once."""

    records: Sequence[port.NewRecord]
    state: port.State
    offsets: Mapping[port.TopicPartition, int]
    call: calls.Call


_NOTES = "\0notes"
"""Table of the texts beside committed offsets."""


class BaseConsumer:
    """Fetching, settling and state, whatever decides on the partitions."""

    def __init__(
        self, bus: client.EmbeddedBus, link: link_.Link, settings: settings_.Settings, *, group: str | None
    ) -> None:
        self._bus = bus
        self._link = link
        self._settings = settings
        self._group = group
        self._number = 0
        self._buffers: dict[port.TopicPartition, buffer.Buffer] = {}
        self._by_id: dict[int, buffer.Buffer] = {}
        self._turns: deque[buffer.Buffer] = deque()
        self._token = 0
        self._wants: dict[int, dict[int, int]] = {}
        self._current: frozenset[int] = frozenset()
        self._arrived: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._doubt: _Doubt | None = None
        self._noteless: set[port.TopicPartition] = set()
        """Partitions whose committed offset has no note, as this consumer committed it last."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._number:
            try:
                with contextlib.suppress(port.BusError):  # an owner that cannot be told finds out by the connection
                    await self._link.call(wire.Leave(consumer=self._number), wire.Done)
            finally:
                self._link.detach(self._number)
                self._number = 0
                self._wake()  # a fetch that waits has nothing to wait for
        self._take_doubt()
        for one in list(self._buffers.values()):
            self._drop(one)

    @property
    def standby_lag(self) -> None:
        """All members read the same log; there is nothing to copy."""

    def assignment(self) -> frozenset[port.TopicPartition]:
        return frozenset(self._buffers)

    async def fetch(
        self, *, records_max: int = 500, wait_s: float = 0.5
    ) -> dict[port.TopicPartition, list[port.Record]]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            self._check_open()
            taken = self._take(records_max)
            self._pump()
            if taken:
                return taken
            left_s = deadline - loop.time()
            if left_s <= 0:
                return {}
            arrived = self._arrived = loop.create_future()
            timer = loop.call_later(left_s, _settle_future, arrived)
            try:
                await arrived
            finally:
                timer.cancel()

    def _check_open(self) -> None:
        if not self._number:
            raise errors.UsageError("the consumer is not open; use it inside `async with`")

    def _take(self, records_max: int) -> dict[port.TopicPartition, list[port.Record]]:
        taken: dict[port.TopicPartition, list[port.Record]] = {}
        for _ in range(len(self._turns)):
            one = self._turns[0]
            self._turns.rotate(-1)  # who was served first comes last next time
            if one.paused or not one.active:
                continue
            try:
                records = one.take(records_max)
            except port.BusError:
                if taken:
                    break  # what was taken is given out first; it is this partition's turn again
                raise
            if records:
                taken[one.partition] = records
                records_max -= len(records)
                if records_max <= 0:
                    break
        return taken

    def _pump(self) -> None:
        """Keep one fetch on its way that asks for every partition with little waiting."""
        if not self._number:
            return
        wants = {
            one.id: one.next
            for one in self._turns
            if one.active and not one.paused and one.bytes < self._settings.fetch_bytes_max // 2
        }
        if not wants or self._current.issuperset(wants):
            return
        self._token += 1
        self._wants = {self._token: wants} | {
            token: old for token, old in self._wants.items() if token > self._token - 8
        }
        self._current = frozenset(wants)
        self._link.post(
            wire.Fetch(
                consumer=self._number,
                token=self._token,
                wants=list(wants.items()),
                bytes_max=self._settings.fetch_bytes_max,
            )
        )

    def _again(self) -> None:
        """Forget the fetch on its way and send another."""
        self._wants.clear()
        self._current = frozenset()
        self._pump()

    def _wake(self) -> None:
        if self._arrived is not None:
            _settle_future(self._arrived)

    def pushed(self, message: wire.Push) -> None:
        """The owner's message; see link.Attached."""
        if isinstance(message, wire.Fetched):
            wants = self._wants.pop(message.token, None)
            if message.token == self._token:
                self._current = frozenset()
            if wants is not None:
                self._fetched(message.batches, wants)
            self._pump()
        elif isinstance(message, wire.Troubled):
            self.failed(wire.error(message.kind, message.message))

    def _fetched(self, batches: Sequence[wire.Stored], wants: dict[int, int]) -> None:
        for batch in batches:
            one = self._by_id.get(batch.partition)
            # A seek or an answer to an earlier fetch may have moved the partition since this one was asked for.
            if one is not None and one.active and wants.get(batch.partition) == one.next:
                one.add(batch)
                wants[batch.partition] = one.next
        self._wake()

    def reconnected(self) -> None:
        """There is a new owner; see link.Attached."""
        self._again()

    def failed(self, error: errors.SixfoldError) -> None:
        """No owner could be reached, or it has nothing to give; the next fetch raises it."""
        self._current = frozenset()
        self._error = error
        self._wake()

    def position(self, partition: port.TopicPartition) -> int:
        return self._owned(partition).position

    async def settle(
        self,
        *,
        records: Sequence[port.NewRecord] = (),
        state: port.State | None = None,
        offsets: Mapping[port.TopicPartition, int] | None = None,
        notes: Mapping[port.TopicPartition, str] | None = None,
        atomic: bool = False,
    ) -> None:
        self._check_open()
        if self._group is None and (state or offsets):
            raise errors.UsageError("this consumer has no group to commit for; give `assign` a group")
        state, offsets, noted = state or {}, offsets or {}, notes or {}
        checking.settle(state, offsets, noted)
        if not (records or state or offsets):
            return
        state = {**state, **self._note_rows(offsets, noted)}
        doubt = self._take_doubt(records, state, offsets)
        try:
            if doubt is not None:
                await self._link.again(doubt.call)
                self._noteless = self._noteless.union(offsets).difference(noted)
                return
            by_id: dict[int, int] = {}
            for partition, offset in offsets.items():
                by_id[await self._settled_id(partition)] = offset
            await self._bus.write(
                records,
                consumer=self._fence(),
                group=self._group or "",
                state=[
                    wire.State(table, number, key, value)
                    for (table, number), rows in state.items()
                    for key, value in rows.items()
                ],
                offsets=by_id,
                keep=True,
            )
            self._noteless = self._noteless.union(offsets).difference(noted)
        except calls.InDoubtError as error:
            self._doubt = _Doubt(records, state, offsets, error.call)
            raise

    def _note_rows(
        self, offsets: Mapping[port.TopicPartition, int], notes: Mapping[port.TopicPartition, str]
    ) -> port.State:
        """Notes are rows of a table that no function can name, in the transaction of their offsets."""
        rows: dict[tuple[str, int], dict[bytes, bytes | None]] = {}
        for each in offsets:
            if notes.get(each) or each not in self._noteless:
                note = notes.get(each, "").encode() or None
                rows.setdefault((_NOTES, each.partition), {})[each.topic.encode()] = note
        return rows

    async def note(self, partition: port.TopicPartition) -> str:
        if self._group is None:
            return ""
        found = await self._row(_NOTES, partition.partition, partition.topic.encode())
        return (found or b"").decode()

    def _take_doubt(self, *wanted: object) -> _Doubt | None:
        """The settle in doubt, where it is the one that is `wanted`; any other is given up."""
        doubt, self._doubt = self._doubt, None
        if doubt is None or doubt[:3] == wanted:
            return doubt
        self._link.forget(doubt.call)
        return None

    def _fence(self) -> int:
        return 0

    async def _settled_id(self, partition: port.TopicPartition) -> int:
        return await self._bus.partition_id(partition)

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        self._check_state(table, partition)
        return await self._row(table, partition, key)

    async def _row(self, table: str, partition: int, key: bytes) -> bytes | None:
        request = wire.GetState(group=self._group or "", table=table, partition=partition, key=key)
        rows = (await self._link.call(request, wire.Rows)).rows
        return rows[0][1] if rows else None

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        self._check_state(table, partition)
        rows: list[tuple[bytes, bytes]] = []
        more = True
        while more:
            request = wire.ScanState(
                group=self._group or "", table=table, partition=partition, after=rows[-1][0] if rows else None
            )
            reply = await self._link.call(request, wire.Rows)
            rows += reply.rows
            more = reply.more
        return rows

    def _check_state(self, table: str, partition: int) -> None:
        checking.table(table)
        if self._group is None:
            raise errors.UsageError("this consumer has no group, so no state; give `assign` a group")
        if all(each.partition != partition for each in self._mine()):
            raise port.FencedError(f"partition {partition} of table {table!r} is not this consumer's (any more)")

    def _mine(self) -> Collection[port.TopicPartition]:
        """Whose rows may be read."""
        return self._buffers.keys()

    async def seek(self, partition: port.TopicPartition, offset: int) -> None:
        checking.offset(partition, offset)
        if partition not in self._buffers:
            raise port.FencedError(f"{partition.topic}:{partition.partition} is not this consumer's (any more)")
        self._buffers[partition].seek(offset)
        self._again()

    def pause(self, partitions: Sequence[port.TopicPartition]) -> None:
        for partition in self._buffers.keys() & set(partitions):
            self._buffers[partition].paused = True

    def resume(self, partitions: Sequence[port.TopicPartition]) -> None:
        for partition in self._buffers.keys() & set(partitions):
            self._buffers[partition].paused = False
        self._pump()
        self._wake()

    def _owned(self, partition: port.TopicPartition) -> buffer.Buffer:
        found = self._buffers.get(partition)
        if found is None:
            raise errors.UsageError(
                f"{partition.topic}:{partition.partition} is not assigned to this consumer; see `assignment()`"
            )
        return found

    def _hold(self, one: buffer.Buffer) -> None:
        # A fetch on its way that names it asked for an earlier assignment's offset, and its answer will be dropped.
        self._current -= {one.id}
        self._noteless.discard(one.partition)
        self._buffers[one.partition] = self._by_id[one.id] = one
        self._turns.append(one)

    def _drop(self, one: buffer.Buffer) -> None:
        one.active = False
        one.clear()
        self._by_id.pop(one.id, None)
        if self._buffers.get(one.partition) is one:
            del self._buffers[one.partition]
            self._turns.remove(one)


def _settle_future(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
