"""The contract: reading partitions from where one wants to."""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.support import naming, waiting
from tests.support.records import make, numbered, values

from sixfold import errors
from sixfold.bus import port


async def test_a_new_group_starts_at_the_earliest_record(bus: port.Bus, names: naming.Names) -> None:
    """`earliest` is the default: a group that committed nothing reads all there is."""
    topic = await make(bus, names("t"))
    await numbered(bus, topic, 0, 5)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        assert values(await waiting.collect(consumer, 5)) == [0, 1, 2, 3, 4]


async def test_latest_starts_with_what_comes_after_joining(bus: port.Bus, names: naming.Names) -> None:
    """`latest` skips what is there, and misses nothing that is published once the consumer is open."""
    topic = await make(bus, names("t"))
    await numbered(bus, topic, 0, 5)
    async with bus.subscribe(names("g"), [topic], start=port.LATEST) as consumer:
        await waiting.assigned(consumer, 1)
        await numbered(bus, topic, 5, 2)
        assert values(await waiting.collect(consumer, 2)) == [5, 6]


async def test_a_timestamp_starts_with_the_first_record_stamped_then_or_later(
    bus: port.Bus, names: naming.Names
) -> None:
    """By event time; a time after the last record is the end."""
    topic = await make(bus, names("t"), retention_ms=10**13)
    await numbered(bus, topic, 0, 6, stamp_ms=1_700_000_000_000)
    async with bus.subscribe(names("g"), [topic], start=port.Start("timestamp", 1_700_000_002_500)) as consumer:
        assert values(await waiting.collect(consumer, 3)) == [3, 4, 5]
    async with bus.subscribe(names("h"), [topic], start=port.Start("timestamp", 1_800_000_000_000)) as consumer:
        await waiting.assigned(consumer, 1)
        await numbered(bus, topic, 6, 1)
        assert values(await waiting.collect(consumer, 1)) == [6]


async def test_a_committed_offset_wins_over_the_start(bus: port.Bus, names: naming.Names) -> None:
    """`start` is for partitions without a committed offset only."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 5)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(offsets={partition: 3})
    async with bus.subscribe(names("g"), [topic], start=port.LATEST) as consumer:
        assert values(await waiting.collect(consumer, 2)) == [3, 4]


async def test_the_offset_at_a_time_is_that_of_the_first_record_then_or_later(
    bus: port.Bus, names: naming.Names
) -> None:
    """`offset_at`: exact, between, before the first and after the last record."""
    topic = await make(bus, names("t"), retention_ms=10**13)
    partition = port.TopicPartition(topic, 0)
    base_ms = 1_700_000_000_000
    await numbered(bus, topic, 0, 4, stamp_ms=base_ms)
    asked = [base_ms - 1, base_ms, base_ms + 1000, base_ms + 1001, base_ms + 3000, base_ms + 3001]
    assert [await bus.offset_at(partition, stamp) for stamp in asked] == [0, 0, 1, 2, 3, 4]


async def test_offsets_are_the_readable_range(bus: port.Bus, names: naming.Names) -> None:
    """`start` is the first, `end` one after the last; equal where there is nothing."""
    topic = await make(bus, names("t"), 2)
    await bus.publish([port.NewRecord(topic, b"x", partition=1) for _ in range(3)])
    assert await bus.offsets(port.TopicPartition(topic, 0)) == (0, 0)
    assert await bus.offsets(port.TopicPartition(topic, 1)) == (0, 3)


async def test_seek_reads_on_from_the_offset_it_names(bus: port.Bus, names: naming.Names) -> None:
    """Back and forward, also over records that were fetched ahead."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 20)
    async with bus.assign([partition]) as consumer:
        first = await consumer.fetch(records_max=3, wait_s=10)
        assert values(first[partition]) == [0, 1, 2]
        await consumer.seek(partition, 15)
        assert values(await waiting.collect(consumer, 5)) == [15, 16, 17, 18, 19]
        await consumer.seek(partition, 1)
        assert values(await waiting.collect(consumer, 19)) == list(range(1, 20))


async def test_a_paused_partition_is_skipped_until_it_is_resumed(bus: port.Bus, names: naming.Names) -> None:
    """The other partitions go on; nothing of the paused one is lost."""
    topic = await make(bus, names("t"), 2)
    zero, one = port.TopicPartition(topic, 0), port.TopicPartition(topic, 1)
    await bus.publish([port.NewRecord(topic, b"%d" % i, partition=i % 2) for i in range(10)])
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 2)
        consumer.pause([zero])
        assert {record.partition for record in await waiting.collect(consumer, 5)} == {1}
        assert await consumer.fetch(wait_s=0.5) == {}
        assert consumer.assignment() == {zero, one}
        consumer.resume([zero])
        assert values(await waiting.collect(consumer, 5)) == [0, 2, 4, 6, 8]


async def test_pinned_partitions_are_read_without_a_group(bus: port.Bus, names: naming.Names) -> None:
    """`assign` reads just those, beside any other reader, and has no offsets to commit."""
    topic = await make(bus, names("t"), 3)
    await bus.publish([port.NewRecord(topic, b"%d" % i, partition=i % 3) for i in range(9)])
    two = port.TopicPartition(topic, 2)
    async with bus.assign([two]) as consumer, bus.assign([two]) as beside:
        assert consumer.assignment() == {two}
        assert values(await waiting.collect(consumer, 3)) == [2, 5, 8]
        assert values(await waiting.collect(beside, 3)) == [2, 5, 8]
        with pytest.raises(errors.UsageError):
            await consumer.settle(offsets={two: 3})


async def test_pinned_partitions_continue_at_their_groups_offset(bus: port.Bus, names: naming.Names) -> None:
    """`assign` with a group starts at its committed offset and may commit."""
    topic = await make(bus, names("t"), 2)
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 5)
    async with bus.assign([partition], group=names("g")) as consumer:
        assert values(await waiting.collect(consumer, 5)) == [0, 1, 2, 3, 4]
        await consumer.settle(offsets={partition: 2})
    async with bus.assign([partition], group=names("g")) as consumer:
        assert values(await waiting.collect(consumer, 3)) == [2, 3, 4]
    assert await bus.committed(names("g")) == {partition: 2}


async def test_fetch_returns_nothing_once_its_wait_is_over(bus: port.Bus, names: naming.Names) -> None:
    """`wait_s` is kept where no record comes: not much less, not much more."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await consumer.fetch(wait_s=0.4) == {}
        assert 0.35 <= loop.time() - begun < 3


async def test_a_waiting_fetch_wakes_when_a_record_comes(bus: port.Bus, names: naming.Names) -> None:
    """A long poll, not a timer: the record is there long before the wait is over."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        assert await consumer.fetch(wait_s=0.2) == {}
        loop = asyncio.get_running_loop()
        begun = loop.time()
        fetching = asyncio.create_task(consumer.fetch(wait_s=20))
        await numbered(bus, topic, 0, 1)
        found = await fetching
        assert values(found[port.TopicPartition(topic, 0)]) == [0]
        assert loop.time() - begun < 5


async def test_records_max_bounds_a_fetch_and_the_next_goes_on(bus: port.Bus, names: naming.Names) -> None:
    """At most so many in all partitions together, each record once, none lost."""
    topic = await make(bus, names("t"), 3)
    await bus.publish([port.NewRecord(topic, b"%d" % i) for i in range(100)])
    found: list[port.Record] = []
    async with bus.subscribe(names("g"), [topic]) as consumer:
        while len(found) < 100:
            batch = [
                record for records in (await consumer.fetch(records_max=7, wait_s=10)).values() for record in records
            ]
            assert 1 <= len(batch) <= 7
            found += batch
        assert await consumer.fetch(wait_s=0.3) == {}
    assert sorted(values(found)) == list(range(100))


async def test_groups_do_not_disturb_each_other(bus: port.Bus, names: naming.Names) -> None:
    """Each group gets every record and has committed offsets of its own."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 4)
    async with bus.subscribe(names("g"), [topic]) as one, bus.subscribe(names("h"), [topic]) as two:
        assert values(await waiting.collect(one, 4)) == [0, 1, 2, 3]
        assert values(await waiting.collect(two, 4)) == [0, 1, 2, 3]
        await one.settle(offsets={partition: 4})
    assert (await bus.committed(names("g")), await bus.committed(names("h"))) == ({partition: 4}, {})


async def test_lag_counts_what_is_not_committed(bus: port.Bus, names: naming.Names) -> None:
    """By partition; from the start where nothing is committed; zero once all is."""
    topic = await make(bus, names("t"), 2)
    zero, one = port.TopicPartition(topic, 0), port.TopicPartition(topic, 1)
    await bus.publish([port.NewRecord(topic, b"x", partition=i % 2) for i in range(10)])
    assert await bus.lag(names("g"), [topic]) == {zero: 5, one: 5}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 2)
        await consumer.settle(offsets={zero: 2})
        assert await bus.lag(names("g"), [topic]) == {zero: 3, one: 5}
        await consumer.settle(offsets={zero: 5, one: 5})
    assert await bus.lag(names("g"), [topic]) == {zero: 0, one: 0}


async def test_an_idle_consumer_leaves_nothing_behind(bus: port.Bus, names: naming.Names) -> None:
    """However often it is asked while nothing comes: as many tasks and futures as before."""
    topic = await make(bus, names("t"), 3)

    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())

    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 3)
        for _ in range(20):
            await consumer.fetch(wait_s=0.002)
        before = alive()
        for _ in range(200):
            assert await consumer.fetch(wait_s=0.002) == {}
        assert alive() < before + 20
