"""Topics of a volume, as declared to the bus, and small helpers to read them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import ends, port
from sixfold_events import Event
from sixfold_events.registry import Registry
from sixfold_functions.volume.core import layout

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GROUP = re.compile(rf"{_NAME.pattern}\.g[1-9][0-9]?")
DAY_MS = 24 * 3600 * 1000
ACKS_BYTES_MAX = 256 * 1024 * 1024
"""Acknowledgements and answers are worth something only while they are new."""
BUS_RETRY_S = 0.2


def specs(volume: str = layout.DEFAULT_VOLUME) -> tuple[port.TopicSpec, ...]:
    """What a volume needs.

    `redo` and `reads` have one partition a copy, its leader in the copy's zone and no replicas: the six copies are
    the replication, so a lost zone takes only its own two. They grow by one with each copy that replaces another. The redo is kept for a week, since a copy that was away
    reads on from where it stopped; the truth is in the copies' own logs. Raises UsageError for a name that cannot be.
    """
    if not _GROUP.fullmatch(volume):
        check_name(volume)
    topics = layout.topics(volume)
    zones = tuple(place.zone for place in layout.PLACES)
    copies = len(layout.PLACES)
    return (
        port.TopicSpec(name=topics.redo, partitions=copies, replication=1, replica_zones=zones, grows=True),
        port.TopicSpec(
            name=topics.reads,
            partitions=copies,
            replication=1,
            replica_zones=zones,
            retention_ms=DAY_MS,
            retention_bytes=ACKS_BYTES_MAX,
            grows=True,
        ),
        port.TopicSpec(name=topics.acks, partitions=1, retention_ms=DAY_MS, retention_bytes=ACKS_BYTES_MAX),
        port.TopicSpec(name=topics.append, partitions=1),
        port.TopicSpec(name=topics.durable, partitions=1),
        port.TopicSpec(name=topics.read_results, partitions=1, retention_ms=DAY_MS, retention_bytes=ACKS_BYTES_MAX),
        port.TopicSpec(name=topics.status, partitions=1, cleanup=port.Cleanup.COMPACT, retention_ms=None),
        port.TopicSpec(name=topics.read_points, partitions=1, retention_ms=DAY_MS),
        port.TopicSpec(name=topics.members, partitions=1, retention_ms=None),
        port.TopicSpec(name=topics.retention, partitions=1, cleanup=port.Cleanup.COMPACT, retention_ms=None),
    )


def check_name(volume: str) -> None:
    """Raises UsageError for what cannot be a volume's name."""
    if not _NAME.fullmatch(volume):
        raise errors.UsageError(
            f"volume {volume!r}: expected 1 to 64 small letters, digits and hyphens; it names topics and a folder"
        )


def spread_specs(volume: str) -> tuple[port.TopicSpec, ...]:
    """What a volume of several groups needs besides theirs: appends, announcements, and the plan among the members."""
    check_name(volume)
    topics = layout.topics(volume)
    own = topics.append, topics.durable, topics.members
    return tuple(spec for spec in specs(volume) if spec.name in own)


DEFAULT_SPECS = specs()


async def last_records(bus: port.Bus, topic: str, count: int) -> list[port.Record]:
    """The newest records of a one-partition topic, at most `count`, oldest first."""
    partition = port.TopicPartition(topic, 0)
    start, end = await bus.offsets(partition)
    first = max(start, end - count)
    records: list[port.Record] = []
    if first >= end:
        return records
    async with bus.assign([partition]) as consumer:
        await consumer.seek(partition, first)
        async for batch in ends.read_up_to(consumer, {partition: end}):
            records.extend(record for record in batch if record.offset < end)
    return records


async def follow(consumer: port.Consumer, clock: clocks.Clock) -> AsyncIterator[Sequence[port.Record]]:
    """Batches of records of `consumer`'s partitions, for ever; waits where the bus is away."""
    while True:
        try:
            fetched = await consumer.fetch(wait_s=5.0)
        except port.BusUnavailableError:
            await clock.sleep(BUS_RETRY_S)
            continue
        for records in fetched.values():
            yield records


def decoded(registry: Registry, record: port.Record) -> Event | None:
    """The event in `record`; None where it is none."""
    try:
        return registry.decode(record.value, record.headers)
    except ValueError:
        return None


def moved(record: port.NewRecord, topic: str) -> port.NewRecord:
    """`record` for its volume's own topic."""
    if record.topic == topic:
        return record
    return port.NewRecord(
        topic=topic,
        value=record.value,
        key=record.key,
        headers=record.headers,
        partition=record.partition,
        timestamp_ms=record.timestamp_ms,
    )
