"""Appending records through aiokafka's producers: partitions are chosen, sizes checked, batches filled, failures waited out."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections.abc import Sequence
from typing import Any

from aiokafka import errors as kafka

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import checking, murmur2, port
from sixfold.bus.kafka import bootstrap, changelogs, failures, lifecycle, overdue, producers, specs, topics
from sixfold.bus.kafka import settings as kafka_settings

BATCHED_RECORDS_MIN = 8
"""From so many records for one partition on, a publish builds its own batches: no future for each record."""
KEYS_CACHED = 65_536
"""Hashes of keys that are remembered: murmur2 in Python takes as long as all the rest of a small publish."""


async def send(producer: Any, record: port.NewRecord, partition: int, now_ms: int) -> asyncio.Future[Any]:
    """Put one record into the batch that everybody fills; the future is done when it is stored."""
    _follow(producer, record.topic)
    stamp = now_ms if record.timestamp_ms is None else record.timestamp_ms
    future: asyncio.Future[Any] = await producer.send(
        record.topic, record.value, record.key, partition, stamp, list(record.headers)
    )
    return future


async def append(producer: Any, records: Sequence[tuple[port.NewRecord, int]], now_ms: int) -> list[port.Position]:
    """Append records, each with its partition, in order within each partition; returns when all are stored."""
    by_partition: dict[tuple[str, int], list[int]] = {}
    for index, (record, partition) in enumerate(records):
        by_partition.setdefault((record.topic, partition), []).append(index)
    positions: list[port.Position | None] = [None] * len(records)
    waits = []
    for (topic, partition), indexes in by_partition.items():
        own = len(indexes) >= BATCHED_RECORDS_MIN or any(_is_bare(records[i][0]) for i in indexes)
        work = _append_batches if own else _append_each
        waits.append(work(producer, topic, partition, [(i, records[i][0]) for i in indexes], positions, now_ms))
    if len(waits) == 1:
        await waits[0]
    else:
        results = await asyncio.gather(*waits, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
    return positions  # type: ignore[return-value]  # every place is filled, or an error was raised


async def append_rows(producer: Any, share: changelogs.Share, now_ms: int) -> int:
    """Append the rows of one changelog's partition; the last one's offset, when all are stored."""
    topic, partition = share.log
    _follow(producer, topic)
    headers, none, carrier = list(share.headers), list[port.Header](), share.carrier
    rows, offset = share.rows, -1
    while rows:
        builder = producer.create_batch()
        # Of a batch's `append` only the inner one costs what it must: rows come by the ten thousand a second.
        fill, count = builder._builder.append, 0
        for key, value in rows.items():
            if fill(count, now_ms, key, value, headers if key is carrier else none) is None:
                break
            count += 1
        builder._relative_offset = count
        builder.close()
        stored = await (await producer.send_batch(builder, topic, partition=partition))
        offset = stored.offset + count - 1
        rows = dict(itertools.islice(rows.items(), count, None))
    return int(offset)


async def _append_each(
    producer: Any,
    topic: str,
    partition: int,
    records: Sequence[tuple[int, port.NewRecord]],
    positions: list[port.Position | None],
    now_ms: int,
) -> None:
    """Through the batch that everybody fills: best for single records from many tasks."""
    sent = [(index, await send(producer, record, partition, now_ms)) for index, record in records]
    try:
        for index, future in sent:
            positions[index] = port.Position(topic, partition, (await future).offset)
    except BaseException:
        for _, future in sent:
            future.add_done_callback(_looked_at)
        raise


async def _append_batches(
    producer: Any,
    topic: str,
    partition: int,
    records: Sequence[tuple[int, port.NewRecord]],
    positions: list[port.Position | None],
    now_ms: int,
) -> None:
    """Through batches of this publish alone."""
    _follow(producer, topic)
    start = 0
    while start < len(records):
        builder = producer.create_batch()
        end = start
        for _, record in records[start:]:
            stamp = now_ms if record.timestamp_ms is None else record.timestamp_ms
            if (
                builder.append(timestamp=stamp, key=record.key, value=record.value, headers=list(record.headers))
                is None
            ):
                break
            end += 1
        builder.close()
        stored = await (await producer.send_batch(builder, topic, partition=partition))
        for place in range(start, end):
            positions[records[place][0]] = port.Position(topic, partition, stored.offset + place - start)
        start = end


def _follow(producer: Any, topic: str) -> None:
    """Have the producer keep itself informed of `topic`.

    aiokafka learns of all topics when it begins, and asks again only for those that it had to look up: a batch that waits
    for a new leader in one of the others would wait in vain.
    """
    if topic not in producer.client._topics:
        producer.client.add_topic(topic)


def _is_bare(record: port.NewRecord) -> bool:
    """Whether it has neither key nor value: aiokafka sends such a record in a batch of ours only."""
    return record.value is None and record.key is None


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Another record of the same call has failed already; asyncio need not warn of this one."""
    if not future.cancelled():
        future.exception()


class Publisher:
    """`Bus.publish` on Kafka."""

    def __init__(
        self, servers: str, clock: clocks.Clock, settings: kafka_settings.KafkaSettings, admin: topics.TopicAdmin
    ) -> None:
        self._bootstrap = servers
        self._clock = clock
        self._settings = settings
        self._admin = admin
        self._producers: dict[int, Any] = {}
        self._starting = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._turns: dict[str, int] = {}
        self._overdue = overdue.Overdue(clock, self._check)
        self._closed = False
        self._partition_for = functools.lru_cache(KEYS_CACHED)(murmur2.partition_for)

    async def close(self) -> None:
        """Flush and close."""
        self._closed = True
        former, self._producers = list(self._producers.values()), {}
        await asyncio.gather(*(producers.stop(producer) for producer in former), *self._retiring)
        await self._overdue.close()

    async def refresh(self) -> None:
        """Look at the cluster again: a topic has more partitions than a producer knows."""
        for producer in self._producers.values():
            await producer.client.force_metadata_update()

    async def place(self, records: Sequence[port.NewRecord]) -> list[tuple[port.NewRecord, int]]:
        """Each record with its partition; raises for a record that cannot be stored, before any is."""
        names = {record.topic for record in records}
        if len(names) > 1:
            await self._admin.confirm(names)
        placed = []
        for record in records:
            topic = self._admin.known(record.topic) or await self._admin.find(record.topic)
            if record.partition is not None and record.partition >= topic.partitions:
                topic = await self._admin.again(record.topic)  # it may have got more meanwhile
                await self.refresh()
            size = checking.size_bytes(record.key, record.value, record.headers)
            if size > topic.record_bytes_max:
                raise port.RecordTooLargeError(
                    f"a record for topic {record.topic!r} has {size} bytes, the topic takes {topic.record_bytes_max}. "
                    "Make it smaller, or give the topic a larger record_bytes_max"
                )
            if record.key is None and topic.compacted:
                raise checking.keyless(record.topic)
            placed.append((record, self._partition(record, topic.partitions)))
        return placed

    def _partition(self, record: port.NewRecord, partitions: int) -> int:
        if record.partition is not None:
            if not 0 <= record.partition < partitions:
                raise checking.no_partition(record.topic, record.partition, partitions)
            return record.partition
        if record.key is not None:
            return self._partition_for(record.key, partitions)
        turn = self._turns.get(record.topic, os.getpid())  # processes begin with different partitions
        self._turns[record.topic] = turn + 1
        return turn % partitions

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        """See `port.Bus.publish`."""
        if not records:
            return []
        if self._closed:
            raise errors.UsageError("the bus is not open while publishing; use it inside `async with`")
        placed = await self.place(records)
        try:
            return await self._send(placed)
        except (port.UnknownTopicError, port.RecordTooLargeError) as error:
            names = {record.topic for record in records}
            for name in names:
                self._admin.forget(name)
            # What was in the only topic went with it; else others of the call may be stored.
            if len(names) > 1 or (isinstance(error, port.RecordTooLargeError) and len(records) > 1):
                raise port.PartlyStoredError(
                    f"some of {len(records)} records for {', '.join(sorted(names))} may be stored, others are not: {error}"
                ) from error
            raise

    async def _send(self, placed: Sequence[tuple[port.NewRecord, int]]) -> list[port.Position]:
        now_ms = clocks.now_ms(self._clock)
        small: list[tuple[int, tuple[port.NewRecord, int]]] = []
        large: list[tuple[int, tuple[port.NewRecord, int]]] = []
        for index, pair in enumerate(placed):
            (small if self._is_small(pair[0].topic) else large).append((index, pair))
        if not small:
            return await self._deliver_by(self._settings.batch_bytes, placed, now_ms)
        positions: dict[int, port.Position] = {}
        for share, batch_bytes in ((large, self._settings.batch_bytes), (small, self._settings.small_batch_bytes)):
            if share:
                stored = await self._deliver_by(batch_bytes, [pair for _, pair in share], now_ms)
                positions.update(zip((index for index, _ in share), stored, strict=True))
        return [positions[index] for index in range(len(placed))]

    def _is_small(self, topic: str) -> bool:
        known = self._admin.known(topic)
        return known is not None and known.record_bytes_max + specs.RECORD_OVERHEAD_BYTES < self._settings.batch_bytes

    async def _producer(self, batch_bytes: int) -> Any:
        producer = self._producers.get(batch_bytes)
        if producer is not None and not producer._sender.sender_task.done():
            return producer
        async with self._starting:
            broken = self._producers.get(batch_bytes)
            if broken is not None and broken._sender.sender_task.done():  # by an error that aiokafka cannot get over
                del self._producers[batch_bytes]
                await producers.stop(broken)
            if batch_bytes not in self._producers:
                begin = await bootstrap.answering(self._bootstrap, self._settings.connect_timeout_s)
                producer = producers.new(begin, self._settings, batch_bytes=batch_bytes)
                try:
                    with failures.translated(self._bootstrap, "opening a producer"):
                        await lifecycle.start(producer, self._settings.request_timeout_s)
                except BaseException:
                    await producers.stop(producer)
                    raise
                self._producers[batch_bytes] = producer
            return self._producers[batch_bytes]

    async def _deliver_by(
        self, batch_bytes: int, placed: Sequence[tuple[port.NewRecord, int]], now_ms: int
    ) -> list[port.Position]:
        producer = await self._producer(batch_bytes)
        try:
            return await self._deliver(producer, placed, now_ms)
        except port.BusUnavailableError as error:
            if not isinstance(error.__cause__, kafka.OutOfOrderSequenceNumber):
                raise
            # A batch that expired while its partition had no leader took sequence numbers with it. The broker waits for
            # them for ever, aiokafka asks for no new ones (KIP-360), so another producer goes on.
            if self._producers.get(batch_bytes) is producer:
                del self._producers[batch_bytes]
                retiring = asyncio.create_task(producers.stop(producer), name="retire a producer")
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)
            if len(placed) > 1:  # some may be stored
                raise
        return await self._deliver(await self._producer(batch_bytes), placed, now_ms)

    async def _deliver(
        self, producer: Any, placed: Sequence[tuple[port.NewRecord, int]], now_ms: int
    ) -> list[port.Position]:
        doing = f"publishing to {placed[0][0].topic}"
        with failures.translated(self._bootstrap, doing):
            if len(placed) < BATCHED_RECORDS_MIN and not any(_is_bare(record) for record, _ in placed):
                return await self._deliver_few(producer, placed, now_ms)
            storing = asyncio.ensure_future(append(producer, placed, now_ms))
            names = {record.topic for record, _ in placed}
            waited_s = 0.0
            try:
                while not (await asyncio.wait({storing}, timeout=overdue.CHECK_S))[0]:
                    waited_s += overdue.CHECK_S
                    for name in names:
                        await self._check(name, waited_s)
                return storing.result()
            finally:
                storing.cancel()

    async def _deliver_few(
        self, producer: Any, placed: Sequence[tuple[port.NewRecord, int]], now_ms: int
    ) -> list[port.Position]:
        futures: list[asyncio.Future[Any]] = []
        try:
            for record, partition in placed:
                futures.append(await send(producer, record, partition, now_ms))
            return [
                port.Position(record.topic, partition, (await self._overdue.wait(future, record.topic)).offset)
                for (record, partition), future in zip(placed, futures, strict=True)
            ]
        except BaseException:
            for future in futures:
                future.add_done_callback(_looked_at)
            raise

    async def _check(self, topic: str, waited_s: float) -> None:
        """Raise when a delivery to `topic` that has waited for so long can be given up."""
        self._admin.forget(topic)
        try:
            await self._admin.find(topic)
        except port.BusUnavailableError:
            if waited_s < self._settings.publish_timeout_s:
                return  # whether the topic is gone cannot be known yet; the broker may be on its way back
            raise
        if waited_s >= self._settings.publish_timeout_s:
            raise failures.unavailable(
                self._bootstrap, f"publishing to {topic}", f"nothing for {waited_s:.0f} s; it may be stored yet"
            )
