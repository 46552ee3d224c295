"""Reading a topic from the command line: its records from a start to its present end, or on and on."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence

from sixfold import bus, catalogue
from sixfold import clock as clocks
from sixfold import errors as failures

_WAIT_S = 0.5
# A broker may take this long to give the first records; an end that compaction removed is never given at all.
_QUIET_S = 3.0


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
    clock: clocks.Clock,
    count: int | None = None,
) -> AsyncIterator[bus.Record]:
    """Records from `start` on, at most `count`; without `follow` until the ends that the partitions have now."""
    ends = {partition: await opened.offsets(partition) for partition in partitions}
    begins = {
        partition: await opened.offset_at(partition, start.timestamp_ms) if start.at == "timestamp" else offsets.start
        for partition, offsets in ends.items()
    }
    left = {partition for partition in partitions if ends[partition].end > begins[partition]}
    if not follow and (not left or start == bus.LATEST):
        return
    given = 0
    async with opened.assign(partitions, start=start) as consumer:
        heard = clock.monotonic()
        while follow or (left and clock.monotonic() - heard < _QUIET_S):
            batches = await consumer.fetch(wait_s=_WAIT_S)
            for partition, records in batches.items():
                heard = clock.monotonic()
                for record in records:
                    if not follow and record.offset >= ends[partition].end:
                        left.discard(partition)
                        break
                    yield record
                    given += 1
                    if count is not None and given >= count:
                        return
                    if record.offset + 1 >= ends[partition].end:
                        left.discard(partition)
