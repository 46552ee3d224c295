"""The embedded bus as a client sees it: keeps `port.Bus` over a `link`."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import checking, murmur2, port
from sixfold.bus.embedded import catalogue, layout, pinned, wire
from sixfold.bus.embedded import link as link_
from sixfold.bus.embedded import member as member_
from sixfold.bus.embedded import settings as settings_

T = TypeVar("T")

_KEYS_CACHED = 65_536


class EmbeddedBus:
    """A connection to the log in `folder`; a `port.Bus`."""

    def __init__(self, folder: Path, *, clock: clocks.Clock, settings: settings_.Settings | None = None) -> None:
        self._settings = settings or settings_.Settings()
        self._clock = clock
        self._link = link_.Link(folder.absolute(), self._settings, clock)
        self._topics: dict[str, wire.Topic] = {}
        self._places: dict[int, port.TopicPartition] = {}
        self._partition_for: Callable[[bytes, int], int] = functools.lru_cache(_KEYS_CACHED)(murmur2.partition_for)
        self._turn = self._link.producer  # differs between processes, so that each begins with another partition

    @property
    def url(self) -> str:
        return "embedded:"

    @property
    def owner(self) -> bool:
        """True while this process owns the log and serves the others."""
        return self._link.owner

    async def __aenter__(self) -> Self:
        await self._link.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    async def create_topics(self, specs: Sequence[port.TopicSpec]) -> None:
        await self._link.call(wire.CreateTopics(specs=list(specs)), wire.Done)
        await self._refresh()

    async def alter_topic(self, spec: port.TopicSpec) -> None:
        await self._link.call(wire.AlterTopic(spec=spec), wire.Done)
        await self._refresh()

    async def topics(self) -> dict[str, port.TopicSpec]:
        await self._refresh()
        return {name: topic.spec for name, topic in self._topics.items()}

    async def delete_topic(self, name: str) -> None:
        await self._link.call(wire.DeleteTopic(name=name), wire.Done)
        self._topics.pop(name, None)

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        if not records:
            return []
        return await self.write(records)

    async def offsets(self, partition: port.TopicPartition) -> port.Offsets:
        async def ask() -> port.Offsets:
            return (await self._ranges([await self.partition_id(partition)]))[0]

        return await self._fresh(ask)

    async def offset_at(self, partition: port.TopicPartition, timestamp_ms: int) -> int:
        async def ask() -> int:
            request = wire.OffsetAt(partition=await self.partition_id(partition), timestamp_ms=timestamp_ms)
            return (await self._link.call(request, wire.Found)).offset

        return await self._fresh(ask)

    async def committed(self, group: str) -> dict[port.TopicPartition, int]:
        reply = await self._link.call(wire.GetCommitted(group=group), wire.Committed)
        if any(partition not in self._places for partition, _ in reply.offsets):
            await self._refresh()
        return {self._places[partition]: offset for partition, offset in reply.offsets if partition in self._places}

    async def lag(self, group: str, topics: Sequence[str]) -> dict[port.TopicPartition, int]:
        committed = await self.committed(group)
        await self._refresh()  # topics may have got more partitions
        partitions: dict[port.TopicPartition, int] = {}

        async def ask() -> list[port.Offsets]:
            partitions.clear()
            for name in topics:
                for number, identity in enumerate((await self.topic(name)).partitions):
                    partitions[port.TopicPartition(name, number)] = identity
            return await self._ranges(list(partitions.values()))

        ranges = await self._fresh(ask)
        return {
            partition: end - min(max(committed.get(partition, start), start), end)
            for partition, (start, end) in zip(partitions, ranges, strict=True)
        }

    def subscribe(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: port.Start = port.EARLIEST,
        listener: port.Listener | None = None,
        member: str | None = None,
        revoke_timeout_s: float = 30.0,
        standby: bool = False,  # all members have the log itself
    ) -> port.Consumer:
        return member_.GroupConsumer(
            self,
            self._link,
            self._settings,
            group=group,
            topics=topics,
            start=start,
            listener=listener,
            member=member,
            revoke_timeout_s=revoke_timeout_s,
        )

    def assign(
        self, partitions: Sequence[port.TopicPartition], *, start: port.Start = port.EARLIEST, group: str | None = None
    ) -> port.Consumer:
        return pinned.PinnedConsumer(self, self._link, self._settings, partitions=partitions, start=start, group=group)

    async def topic(self, name: str) -> wire.Topic:
        """A topic with its partitions' ids. Raises UnknownTopicError."""
        if name not in self._topics:
            await self._refresh()
        if name not in self._topics:
            raise catalogue.unknown(name)
        return self._topics[name]

    async def partition_id(self, partition: port.TopicPartition) -> int:
        """The id of a partition. Raises UnknownTopicError, and UsageError for a number that the topic does not have."""
        topic = await self.topic(partition.topic)
        if partition.partition >= len(topic.partitions):  # it may have got more meanwhile
            await self._refresh()
            topic = await self.topic(partition.topic)
        if not 0 <= partition.partition < len(topic.partitions):
            raise checking.no_partition(partition.topic, partition.partition, len(topic.partitions))
        return topic.partitions[partition.partition]

    async def _fresh(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns; asked again with fresh ids where a topic was deleted, as it may have been made again."""
        try:
            return await ask()
        except port.UnknownTopicError:
            await self._refresh()
            return await ask()

    async def _refresh(self) -> None:
        reply = await self._link.call(wire.ListTopics(), wire.Topics)
        self._topics = {topic.spec.name: topic for topic in reply.topics}
        for name, topic in self._topics.items():
            for number, identity in enumerate(topic.partitions):
                self._places.setdefault(identity, port.TopicPartition(name, number))

    async def _ranges(self, partitions: list[int]) -> list[port.Offsets]:
        reply = await self._link.call(wire.GetOffsets(partitions=partitions), wire.Ranges)
        return [port.Offsets(start, end) for start, end in reply.ranges]

    async def write(
        self,
        records: Sequence[port.NewRecord],
        *,
        consumer: int = 0,
        group: str = "",
        state: list[wire.State] | None = None,
        offsets: Mapping[int, int] | None = None,
        keep: bool = False,
    ) -> list[port.Position]:
        """Append records, and in the same transaction store `state` and commit `offsets` (by partition id).

        `keep`: as of `link.write`.
        """
        for name in {record.topic for record in records}:
            await self.topic(name)
        try:
            return await self._write(records, consumer, group, state, offsets, keep)
        except (port.UnknownTopicError, errors.UsageError):
            # A topic may have been deleted and made again, or got more partitions, since its ids were learnt; nothing was
            # stored.
            known = dict(self._topics)
            await self._refresh()
            if all(known.get(record.topic) == self._topics.get(record.topic) for record in records):
                raise
            for name in {record.topic for record in records}:
                await self.topic(name)
            return await self._write(records, consumer, group, state, offsets, keep)

    async def _write(
        self,
        records: Sequence[port.NewRecord],
        consumer: int,
        group: str,
        state: list[wire.State] | None,
        offsets: Mapping[int, int] | None,
        keep: bool,
    ) -> list[port.Position]:
        laid_out = layout.Layout(
            records,
            self._topics,
            now_ms=clocks.now_ms(self._clock),
            batch_bytes_max=self._settings.batch_bytes_max,
            number_of=self._number,
        )
        bases = await self._link.write(
            laid_out.batches(),
            consumer=consumer,
            group=group,
            state=state,
            offsets=list(offsets.items()) if offsets else None,
            keep=keep,
        )
        return laid_out.positions(bases)

    def _number(self, record: port.NewRecord, count: int) -> int:
        """The partition, of `count`, that a record goes to."""
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise checking.no_partition(record.topic, record.partition, count)
            return record.partition
        if record.key is not None:
            return self._partition_for(record.key, count)
        self._turn += 1
        return self._turn % count
