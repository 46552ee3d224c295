"""Reading a topic from the command line: its records from a start to its present end, or on and on."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Sequence

from sixfold import bus, catalogue
from sixfold import errors as failures
from sixfold.bus import ends


def start_of(text: str) -> bus.Start:
    """`earliest`, `latest`, or a time (RFC 3339, or Unix milliseconds) as a start. Raises UsageError for others."""
    if text == "earliest":
        return bus.EARLIEST
    if text == "latest":
        return bus.LATEST
    if text.isdigit():
        return bus.Start("timestamp", int(text))
    try:
        moment = datetime.datetime.fromisoformat(text)
        local = moment if moment.tzinfo else moment.astimezone()
        return bus.Start("timestamp", int(local.timestamp() * 1000))
    except ValueError:
        raise failures.UsageError(
            f"--from {text!r}: expected earliest, latest, a time such as 2014-11-12T17:00:00Z, or Unix milliseconds"
        ) from None


async def partitions_of(opened: bus.Bus, topic: str) -> list[bus.TopicPartition]:
    """The partitions of `topic`. Raises UnknownNameError, with near names, where there is no such topic."""
    topics = await opened.topics()
    if topic not in topics:
        raise catalogue.unknown("topic", topic, topics, "`sixfold topics` lists all")
    return [bus.TopicPartition(topic, number) for number in range(topics[topic].partitions)]


async def read(
    opened: bus.Bus,
    partitions: Sequence[bus.TopicPartition],
    *,
    start: bus.Start,
    follow: bool,
    count: int | None = None,
) -> AsyncIterator[bus.Record]:
    """Records from `start` on, at most `count`; without `follow` until the ends that the partitions have now.

    Raises BusUnavailableError where the bus does not give all of them.
    """
    if not follow and start == bus.LATEST:
        return
    until = {} if follow else await ends.of(opened, partitions)
    given = 0
    async with opened.assign(partitions, start=start) as consumer:
        batches = ends.read_on(consumer) if follow else ends.read_up_to(consumer, until)
        async with contextlib.aclosing(batches):
            async for records in batches:
                for record in records:
                    if not follow and record.offset >= until[bus.TopicPartition(record.topic, record.partition)]:
                        break
                    yield record
                    given += 1
                    if count is not None and given >= count:
                        return


async def at(opened: bus.Bus, partitions: Sequence[bus.TopicPartition], offset: int) -> bus.Record | None:
    """The record at `offset` of the first partition that has one there, read without those before it."""
    for partition in partitions:
        offsets = await opened.offsets(partition)
        if not offsets.start <= offset < offsets.end:
            continue
        async with opened.assign([partition]) as consumer:
            await consumer.seek(partition, offset)
            batches = ends.read_up_to(consumer, {partition: offset + 1})
            async with contextlib.aclosing(batches):
                async for records in batches:
                    for record in records:
                        if record.offset == offset:
                            return record
    return None


def position_of(text: str) -> bus.Position:
    """`TOPIC:PARTITION:OFFSET`. Raises UsageError for others."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        raise failures.UsageError(
            f"--from {text!r}: expected TOPIC:PARTITION:OFFSET such as order.placed:0:17; `sixfold tail` prints them"
        )
    return bus.Position(topic, int(partition), int(offset))


async def following(opened: bus.Bus, position: bus.Position, count: int) -> list[bus.Record]:
    """The record at `position` and those after it in its partition, `count` at most.

    Raises UsageError where there is no such partition or record.
    """
    partition = bus.TopicPartition(position.topic, position.partition)
    known = await partitions_of(opened, position.topic)
    if partition not in known:
        raise failures.UsageError(
            f"{position.topic} has the partitions 0 to {len(known) - 1}, found {position.partition} in --from"
        )
    if await at(opened, [partition], position.offset) is None:
        start, end = await opened.offsets(partition)
        has = f"offsets {start} to {end - 1}, and not each of them may have one" if end > start else "none"
        raise failures.UsageError(
            f"there is no record at {position.topic}:{position.partition}:{position.offset}; the partition has {has}"
        )
    found: list[bus.Record] = []
    async with opened.assign([partition]) as consumer:
        await consumer.seek(partition, position.offset)
        end = (await opened.offsets(partition)).end
        batches = ends.read_up_to(consumer, {partition: end}, records_max=min(count, 500))
        async with contextlib.aclosing(batches):
            async for records in batches:
                found += [record for record in records if record.offset >= position.offset]
                if len(found) >= count:
                    break
    return found[:count]
