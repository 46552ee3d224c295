"""Storing what became of a consumer's records: outputs, rows of tables, offsets; and taking over where another stopped.

A row must never land after its partition has gone to another member: the next restore would take it for the newest, and
compaction would drop the right one. Checks on our side cannot promise that, a process may sleep after the last of
them. So rows travel in a transaction of their input partition's producer, in both kinds of settle. Whoever takes the
partition over opens the same transactional id before it reads the tables, and from then on the brokers refuse what any
earlier owner sends. A group's very first row is the exception, as nobody knew that there would be tables: its producer
is opened then, which fences everybody else just as well, and whether another was faster is looked up after that.

The price is one transaction for each input partition with rows in a settle, side by side: some 12 ms when they come one by
one, 40 ms when they follow each other, whatever their size. Outputs go before and are not delayed by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.structs import OffsetAndMetadata

from sixfold import clock as clocks
from sixfold.bus import checking, port
from sixfold.bus.kafka import changelogs, failures, patience, producing, reading, tables, topics, transactions
from sixfold.bus.kafka import settings as kafka_settings

_Placed = Sequence[tuple[port.NewRecord, int]]


class Shared(NamedTuple):
    """What the bus lends to its consumers."""

    bus: port.Bus
    bootstrap: str
    clock: clocks.Clock
    settings: kafka_settings.KafkaSettings
    admin: topics.TopicAdmin
    publisher: producing.Publisher
    reader: reading.OffsetReader
    data_dir: Path
    patience: patience.Patience


class Settling:
    """What one consumer of `group` stores. `client` is its aiokafka consumer."""

    def __init__(
        self,
        shared: Shared,
        group: str,
        *,
        check_owned: Callable[[Collection[port.TopicPartition]], None],
        rejoin: Callable[[], None],
    ) -> None:
        """`check_owned` raises FencedError for partitions that are not ours any more; `rejoin` has them taken over anew."""
        self._shared = shared
        self._group = group
        self._check_owned = check_owned
        self._rejoin = rejoin
        self._transactions = transactions.Transactions(group, shared.bootstrap, shared.settings)
        self._committed: dict[port.TopicPartition, int] = {}
        self._notes: dict[port.TopicPartition, str] = {}
        self._outdated: set[port.TopicPartition] = set()
        self.tables = tables.Tables(
            group, shared.bus, shared.admin, shared.reader, shared.clock, shared.settings, shared.data_dir
        )

    async def take_over(
        self, client: Any, partitions: Sequence[port.TopicPartition], *, fence: bool
    ) -> dict[port.TopicPartition, int]:
        """Restore the tables; the offsets to start at, where something was settled before.

        With `fence` the last owners are kept from storing anything first: all of them if the group has tables, else
        those that settled in transactions.
        """
        self.tables.forget()
        self._outdated.clear()
        self._notes.clear()
        committed, atomic = await self._read_committed(client, partitions)
        logs = await self.tables.changelogs({partition.partition for partition in partitions})
        late = list(partitions) if logs else atomic
        if fence and late:
            await self._transactions.open(late)
            committed, _ = await self._read_committed(client, partitions)
        await self.tables.restore(logs)
        self._committed = committed
        starts = {each: max(committed.get(each, 0), self.tables.reflected(each)) for each in partitions}
        return {each: start for each, start in starts.items() if start or each in committed}

    def note(self, partition: port.TopicPartition) -> str:
        """The text beside the committed offset that was found."""
        return self._notes.get(partition, "")

    async def release(self) -> None:
        """Abort what is under way: the partitions go to others."""
        await self._transactions.close()

    async def _read_committed(
        self, client: Any, partitions: Collection[port.TopicPartition]
    ) -> tuple[dict[port.TopicPartition, int], list[port.TopicPartition]]:
        """Committed offsets, and the partitions among them that were committed by a transaction."""
        async with asyncio.timeout(self._shared.settings.request_timeout_s):
            found = await client._coordinator.fetch_committed_offsets(
                [topics.kafka_partition(partition) for partition in partitions]
            )
        entries = {port.TopicPartition(p.topic, p.partition): entry for p, entry in found.items() if entry.offset >= 0}
        atomic = [p for p, entry in entries.items() if transactions.is_atomic(entry.metadata)]
        self._notes.update({p: transactions.note_of(entry.metadata) for p, entry in entries.items()})
        return {p: entry.offset for p, entry in entries.items()}, atomic

    async def settle(
        self,
        client: Any,
        records: Sequence[port.NewRecord],
        state: port.State,
        offsets: Mapping[port.TopicPartition, int],
        notes: Mapping[port.TopicPartition, str],
        *,
        atomic: bool,
    ) -> None:
        """See `port.Consumer.settle`."""
        checking.settle(state, offsets, notes)
        shares = changelogs.shares(self._group, state, offsets)
        self._check_current(offsets)
        if shares:
            await self.tables.prepare(shares, offsets)
        if atomic and offsets:
            placed = await self._shared.publisher.place(records)
            await self._fence(client, offsets, shares)
            await self._store(sorted(offsets), placed, shares, offsets, committing=(offsets, notes))
        else:
            writers = _writers(shares, offsets)
            await self._fence(client, writers.keys(), shares)
            await self._shared.publisher.publish(records)
            self._check_current(offsets)
            await self._store_side_by_side(writers, offsets)
            self._check_current(offsets)
            await self._commit(client, offsets, notes)
        self._committed.update(offsets)
        self._notes.update({partition: notes.get(partition, "") for partition in offsets})

    def _check_current(self, partitions: Collection[port.TopicPartition]) -> None:
        self._check_owned(partitions)
        outdated = self._outdated.intersection(partitions)
        if outdated:
            raise failures.fenced(", ".join(map(str, sorted(outdated))), "its state was changed beside this member")

    async def _fence(
        self, client: Any, partitions: Collection[port.TopicPartition], shares: Sequence[changelogs.Share]
    ) -> None:
        """Have these partitions' producers opened, and nobody else's row or offset that we do not know.

        Raises FencedError where there are some: then another was faster, or a settle of ours that seemed to fail got
        through.
        """
        fresh = [partition for partition in partitions if not self._transactions.is_open(partition)]
        if not fresh and self.tables.holds(shares):
            return
        await self._transactions.open(fresh)
        with failures.translated(self._shared.bootstrap, f"looking for another member's state of {self._group!r}"):
            committed, _ = await self._read_committed(client, fresh) if fresh else ({}, [])
            logs = await self.tables.changelogs({each.partition for each in partitions})
            # Not what is held and ours already: the end of our own last transaction may not be seen yet.
            anew = {each.partition for each in fresh}
            rows = await self.tables.restore(
                {log: table for log, table in logs.items() if log.partition in anew or not self.tables.has(table, log)}
            )
        self._check_owned(partitions)
        if rows or any(committed.get(partition) != self._committed.get(partition) for partition in fresh):
            self._give_up(partitions)
            self._check_current(partitions)

    def _give_up(self, partitions: Collection[port.TopicPartition]) -> None:
        self._outdated.update(partitions)
        self._rejoin()

    async def _store_side_by_side(
        self,
        writers: Mapping[port.TopicPartition, Sequence[changelogs.Share]],
        offsets: Mapping[port.TopicPartition, int],
    ) -> None:
        """The rows of each partition in a transaction of its own: another member may own any of them next."""
        stores = [self._store([writer], [], shares, offsets) for writer, shares in writers.items()]
        for failure in await asyncio.gather(*stores, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def _store(
        self,
        partitions: Sequence[port.TopicPartition],
        placed: _Placed,
        shares: Sequence[changelogs.Share],
        offsets: Mapping[port.TopicPartition, int],
        *,
        committing: tuple[Mapping[port.TopicPartition, int], Mapping[port.TopicPartition, str]] = ({}, {}),
    ) -> None:
        """One transaction. `committing` are offsets and their notes."""
        now_ms = clocks.now_ms(self._shared.clock)
        lasts = await self._transactions.run(partitions, placed, shares, *committing, now_ms)
        try:
            self.tables.stored(shares, lasts, offsets)
        except port.BusUnavailableError:
            self._give_up(offsets)
            raise

    async def _commit(
        self, client: Any, offsets: Mapping[port.TopicPartition, int], notes: Mapping[port.TopicPartition, str]
    ) -> None:
        if not offsets:
            return
        committing = {
            topics.kafka_partition(p): OffsetAndMetadata(offset, transactions.plain(notes.get(p, "")))
            for p, offset in offsets.items()
        }
        with failures.translated(self._shared.bootstrap, f"committing ({self._group})"):
            async with asyncio.timeout(self._shared.settings.publish_timeout_s):
                await client.commit(committing)


def _writers(
    shares: Sequence[changelogs.Share], offsets: Mapping[port.TopicPartition, int]
) -> dict[port.TopicPartition, list[changelogs.Share]]:
    """Which input partition's producer stores which rows: the first of the settle that has the rows' number."""
    first: dict[int, port.TopicPartition] = {}
    for partition in sorted(offsets):
        first.setdefault(partition.partition, partition)
    writers: dict[port.TopicPartition, list[changelogs.Share]] = {}
    for share in shares:
        writers.setdefault(first[share.log.partition], []).append(share)
    return writers
