"""Reading partitions up to their end as it is now: all of it, or an error; the same on both back ends.

An empty fetch says only that nothing came in time: a broker may be slow, or away. Nor is the end one after the last
record: a transaction's marker or compaction may have taken the offsets before it. What tells is the consumer's
position, which passes such offsets, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping

from sixfold.bus import port

FETCH_S = 0.1
"""A fetch that only passes offsets without records returns nothing, so this is the most that reading over them takes."""
FETCH_ON_S = 5.0
STALLED_S = 15.0
"""As long as one request to a Kafka broker may take (`KafkaSettings.request_timeout_s`)."""


async def of(bus: port.Bus, partitions: Iterable[port.TopicPartition]) -> dict[port.TopicPartition, int]:
    """The present ends of partitions."""
    asked = list(partitions)
    found = await asyncio.gather(*(bus.offsets(partition) for partition in asked))
    return {partition: offsets.end for partition, offsets in zip(asked, found, strict=True)}


async def read_up_to(
    consumer: port.Consumer,
    ends: Mapping[port.TopicPartition, int],
    *,
    records_max: int = 500,
    stalled_s: float = STALLED_S,
) -> AsyncGenerator[list[port.Record], None]:
    """What `consumer` has yet to give below `ends`, batch by batch, each of one partition.

    When it is over every record below the ends was given; records beyond them, or of other partitions that the
    consumer reads, may have been, too. Raises BusUnavailableError where no partition gets any further for `stalled_s`.
    """
    loop = asyncio.get_running_loop()
    before: dict[port.TopicPartition, int] = {}
    moved_s = loop.time()
    while left := {each: at for each, end in ends.items() if (at := consumer.position(each)) < end}:
        if left != before:
            before, moved_s = left, loop.time()
        elif loop.time() - moved_s >= stalled_s:
            where = ", ".join(f"{each.topic}:{each.partition} at {at} of {ends[each]}" for each, at in left.items())
            raise port.BusUnavailableError(
                f"the bus gave nothing for {stalled_s:g} s although there is more to read ({where}); check its brokers, "
                "then try again"
            )
        for records in (await consumer.fetch(records_max=records_max, wait_s=FETCH_S)).values():
            yield records


async def read_on(consumer: port.Consumer) -> AsyncGenerator[list[port.Record], None]:
    """What `consumer` gives, batch by batch, for ever. Raises what `fetch` raises."""
    while True:
        for records in (await consumer.fetch(wait_s=FETCH_ON_S)).values():
            yield records
