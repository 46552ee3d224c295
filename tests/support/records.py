"""Topics filled with records, and all that is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support import waiting

from sixfold.bus import ends, port
from sixfold.bus.kafka import changelogs


async def make(bus: port.Bus, name: str, partitions: int = 1, **settings: Any) -> str:
    """A topic, by its name."""
    await bus.create_topics([port.TopicSpec(name=name, partitions=partitions, **settings)])
    return name


async def everything(bus: port.Bus, topic: str, count: int, partitions: int = 1) -> list[port.Record]:
    """The first `count` records of a topic or more."""
    async with bus.assign([port.TopicPartition(topic, number) for number in range(partitions)]) as consumer:
        return await waiting.collect(consumer, count)


async def contents(bus: port.Bus, topic: str) -> list[bytes | None]:
    """The values of partition 0 up to its end, in order; without those of transactions that did not commit."""
    partition = port.TopicPartition(topic, 0)
    async with bus.assign([partition]) as consumer:
        batches = ends.read_up_to(consumer, await ends.of(bus, [partition]))
        return [record.value async for batch in batches for record in batch]


async def numbered(
    bus: port.Bus, topic: str, first: int, count: int, *, partition: int = 0, stamp_ms: int | None = None
) -> None:
    """Publish numbers, a second of event time apart where `stamp_ms` is given."""
    await bus.publish(
        [
            port.NewRecord(
                topic, b"%d" % i, partition=partition, timestamp_ms=None if stamp_ms is None else stamp_ms + 1000 * i
            )
            for i in range(first, first + count)
        ]
    )


def values(records: list[port.Record]) -> list[int]:
    """The numbers in them."""
    return [int(record.value or b"-1") for record in records]


def of_changelogs(group: str, state: port.State, offsets: Mapping[port.TopicPartition, int]) -> list[port.NewRecord]:
    """The changelog records of a settle of `group`, to be published beside it."""
    return [
        port.NewRecord(
            topic=share.log.topic, key=key, value=value, headers=share.headers, partition=share.log.partition
        )
        for share in changelogs.shares(group, state, offsets)
        for key, value in share.rows.items()
    ]
