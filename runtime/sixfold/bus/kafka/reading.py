"""Offsets of partitions: where they begin and end, and which record was the first at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.kafka import bootstrap, connecting, failures, lifecycle, topics
from sixfold.bus.kafka import settings as kafka_settings

STOP_S = 5.0
"""How long disconnecting may take."""


async def starts(client: Any, partitions: Iterable[port.TopicPartition]) -> dict[port.TopicPartition, int]:
    """First readable offsets, by any started aiokafka consumer."""
    found = await client.beginning_offsets([topics.kafka_partition(partition) for partition in partitions])
    return _plain(found)


async def ends(client: Any, partitions: Iterable[port.TopicPartition]) -> dict[port.TopicPartition, int]:
    """Offsets after the last readable records; an open transaction's records are not readable."""
    found = await client.end_offsets([topics.kafka_partition(partition) for partition in partitions])
    return _plain(found)


async def at(client: Any, partitions: Mapping[port.TopicPartition, int]) -> dict[port.TopicPartition, int]:
    """Offsets of the first records stamped at the given milliseconds or later, the ends where there are none."""
    found = await client.offsets_for_times({topics.kafka_partition(p): stamp for p, stamp in partitions.items()})
    offsets = {port.TopicPartition(p.topic, p.partition): entry.offset for p, entry in found.items() if entry}
    if len(offsets) < len(partitions):
        offsets.update(await ends(client, [p for p in partitions if p not in offsets]))
    return offsets


async def positions(
    client: Any, partitions: Iterable[port.TopicPartition], start: port.Start
) -> dict[port.TopicPartition, int]:
    """Where `start` is in each of the partitions."""
    asked = list(partitions)
    if not asked:
        return {}
    if start.at == "timestamp":
        return await at(client, dict.fromkeys(asked, start.timestamp_ms))
    return await (ends if start.at == "latest" else starts)(client, asked)


def _plain(found: Mapping[Any, int]) -> dict[port.TopicPartition, int]:
    return {port.TopicPartition(p.topic, p.partition): offset for p, offset in found.items()}


class OffsetReader:
    """A connection of its own for these questions, opened when the first is asked."""

    def __init__(self, servers: str, settings: kafka_settings.KafkaSettings) -> None:
        self._bootstrap = servers
        self._settings = settings
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Disconnect."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await lifecycle.stop(client.stop(), client._client, STOP_S)

    async def ranges(self, partitions: Collection[port.TopicPartition]) -> dict[port.TopicPartition, port.Offsets]:
        """What can be read of these partitions, in two requests a broker."""
        client = await self.client()
        with failures.translated(self._bootstrap, "asking for the offsets of partitions"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                first, last = await starts(client, partitions), await ends(client, partitions)
        return {partition: port.Offsets(first[partition], last[partition]) for partition in partitions}

    async def client(self) -> Any:
        """The started aiokafka consumer behind it."""
        async with self._opening:
            if self._closed:
                raise errors.UsageError("the bus is not open while asking for offsets; use it inside `async with`")
            if self._client is None:
                client = AIOKafkaConsumer(
                    bootstrap_servers=await bootstrap.answering(self._bootstrap, self._settings.connect_timeout_s),
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    request_timeout_ms=int(self._settings.request_timeout_s * 1000),
                    retry_backoff_ms=self._settings.retry_backoff_ms,
                    **connecting.options(self._settings),
                )
                try:
                    with failures.translated(self._bootstrap, "asking for offsets"):
                        await lifecycle.start(client, self._settings.request_timeout_s)
                except BaseException:
                    await lifecycle.stop(client.stop(), client._client, STOP_S)
                    raise
                self._client = client
            return self._client
