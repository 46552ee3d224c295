"""A consumer of partitions that the caller names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from sixfold.bus import port
from sixfold.bus.embedded import buffer, catalogue, consumer, wire
from sixfold.bus.embedded import link as link_
from sixfold.bus.embedded import settings as settings_

if TYPE_CHECKING:
    from sixfold.bus.embedded import client


class PinnedConsumer(consumer.BaseConsumer):
    """Reads just the partitions that it was told to."""

    def __init__(
        self,
        bus: client.EmbeddedBus,
        link: link_.Link,
        settings: settings_.Settings,
        *,
        partitions: Sequence[port.TopicPartition],
        start: port.Start,
        group: str | None,
    ) -> None:
        super().__init__(bus, link, settings, group=group)
        self._partitions = partitions
        self._start = start

    async def __aenter__(self) -> Self:
        committed = {} if self._group is None else await self._bus.committed(self._group)
        for partition in self._partitions:
            identity = await self._bus.partition_id(partition)
            offset = committed.get(partition)
            if offset is None:
                offset = await self._begin(partition)
            else:
                start, end = await self._bus.offsets(partition)
                offset = offset if offset <= end else start
            self._hold(buffer.Buffer(partition, identity, offset))
        self._number = self._link.attach(self)
        self._pump()
        return self

    def pushed(self, message: wire.Push) -> None:
        super().pushed(message)
        if isinstance(message, wire.Lost):
            for one in [self._by_id[identity] for identity in message.partitions if identity in self._by_id]:
                self._drop(one)
                self.failed(catalogue.unknown(one.partition.topic))

    async def _begin(self, partition: port.TopicPartition) -> int:
        if self._start.at == "timestamp":
            return await self._bus.offset_at(partition, self._start.timestamp_ms)
        start, end = await self._bus.offsets(partition)
        return end if self._start.at == port.LATEST.at else start
