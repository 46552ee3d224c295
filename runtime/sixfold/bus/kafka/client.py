"""The bus on a Kafka cluster. `KafkaBus` keeps `sixfold.bus.port`; the modules beside it are its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold import joint
from sixfold.bus import port
from sixfold.bus.kafka import altering, consumer, failures, lifecycle, patience, producing, reading, settling, topics
from sixfold.bus.kafka import settings as kafka_settings


class KafkaBus:
    """`port.Bus` on the cluster at `bootstrap` (`host:port[,host:port…]`)."""

    def __init__(
        self,
        bootstrap: str,
        *,
        data_dir: Path,
        clock: clocks.Clock,
        settings: kafka_settings.KafkaSettings | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._data_dir = data_dir
        self._clock = clock
        self._settings = settings or kafka_settings.KafkaSettings()
        self._admin = topics.TopicAdmin(bootstrap, clock, self._settings)
        self._publisher = producing.Publisher(bootstrap, clock, self._settings, self._admin)
        self._listing = joint.Joint(self._admin.list)  # every function asks when it begins
        self._patience = patience.Patience(self._settings.fetch_wait_ms)
        self._reader = reading.OffsetReader(bootstrap, self._settings)

    @property
    def url(self) -> str:
        return f"kafka://{self._bootstrap}"

    async def __aenter__(self) -> Self:
        await self._admin.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await lifecycle.to_its_end(self._close())

    async def _close(self) -> None:
        await self._listing.close()
        await self._publisher.close()
        await self._reader.close()
        await self._admin.close()

    async def create_topics(self, specs: Sequence[port.TopicSpec]) -> None:
        await self._admin.create(specs)

    async def alter_topic(self, spec: port.TopicSpec) -> None:
        await altering.alter(self._admin, spec, self._settings)
        await self._publisher.refresh()

    async def topics(self) -> dict[str, port.TopicSpec]:
        return dict(await self._listing())

    async def delete_topic(self, name: str) -> None:
        await self._admin.delete(name)

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        return await self._publisher.publish(records)

    async def offsets(self, partition: port.TopicPartition) -> port.Offsets:
        await self._admin.check(partition)
        return (await self._reader.ranges([partition]))[partition]

    async def offset_at(self, partition: port.TopicPartition, timestamp_ms: int) -> int:
        await self._admin.check(partition)
        client = await self._reader.client()
        with failures.translated(self._bootstrap, f"asking for an offset of {partition}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                return (await reading.at(client, {partition: timestamp_ms}))[partition]

    async def committed(self, group: str) -> dict[port.TopicPartition, int]:
        return {partition: entry.offset for partition, entry in (await self._admin.committed(group)).items()}

    async def lag(self, group: str, topics: Sequence[str]) -> dict[port.TopicPartition, int]:
        await self._admin.confirm(topics)
        partitions = [
            port.TopicPartition(name, number)
            for name in topics
            for number in range((await self._admin.find(name)).partitions)
        ]
        committed = await self.committed(group)
        client = await self._reader.client()
        with failures.translated(self._bootstrap, f"measuring the lag of {group!r}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                starts = await reading.starts(client, partitions)
                ends = await reading.ends(client, partitions)
        return {p: max(0, ends[p] - max(committed.get(p, 0), starts[p])) for p in partitions}

    def subscribe(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start: port.Start = port.EARLIEST,
        listener: port.Listener | None = None,
        member: str | None = None,
        revoke_timeout_s: float = 30.0,
        standby: bool = False,
    ) -> port.Consumer:
        return consumer.KafkaConsumer(
            self._shared(),
            group=group,
            names=topics,
            start=start,
            listener=listener,
            member=member,
            revoke_timeout_s=revoke_timeout_s,
            standby=standby,
        )

    def assign(
        self,
        partitions: Sequence[port.TopicPartition],
        *,
        start: port.Start = port.EARLIEST,
        group: str | None = None,
    ) -> port.Consumer:
        return consumer.KafkaConsumer(self._shared(), group=group, pinned=partitions, start=start)

    def _shared(self) -> settling.Shared:
        return settling.Shared(
            self,
            self._bootstrap,
            self._clock,
            self._settings,
            self._admin,
            self._publisher,
            self._reader,
            self._data_dir,
            self._patience,
        )
