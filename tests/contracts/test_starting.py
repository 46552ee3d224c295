"""The contract: where reading begins, by offset and by time, and what is known of a topic that another bus changed."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.support import buses, naming, waiting
from tests.support.records import contents, everything, make, numbered, values

from sixfold.bus import port

BASE_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (port.EARLIEST, 0),
        (port.LATEST, 4),
        (port.Start("timestamp", 0), 0),
        (port.Start("timestamp", BASE_MS + 2_000), 2),
        (port.Start("timestamp", BASE_MS + 9_000), 4),
    ],
    ids=["earliest", "latest", "any time", "a time", "a time to come"],
)
async def test_pinned_partitions_start_where_they_are_told(
    bus: port.Bus, names: naming.Names, start: port.Start, first: int
) -> None:
    """As a member of a group does; what comes after the opening is read in any case."""
    topic = await make(bus, names("t"), retention_ms=None)
    await numbered(bus, topic, 0, 4, stamp_ms=BASE_MS)
    partition = port.TopicPartition(topic, 0)
    async with bus.assign([partition], start=start) as consumer:
        assert consumer.position(partition) == first
        await numbered(bus, topic, 4, 1)
        assert values(await waiting.collect(consumer, 5 - first)) == list(range(first, 5))


async def test_a_committed_zero_is_a_committed_offset(bus: port.Bus, names: naming.Names) -> None:
    """A group that was told to begin at the start does, though it would start with what comes."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 2)
    async with bus.assign([partition], group=names("g")) as consumer:
        await consumer.settle(offsets={partition: 0})
    assert await bus.committed(names("g")) == {partition: 0}
    async with bus.subscribe(names("g"), [topic], start=port.LATEST) as consumer:
        assert values(await waiting.collect(consumer, 2)) == [0, 1]


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_committed_offset_beyond_the_end_begins_with_the_first_record(
    bus: port.Bus, names: naming.Names, *, pinned: bool
) -> None:
    """The log lost its tail, or was made again: rather all of it once more than waiting for what may never come."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 3)
    async with bus.assign([partition], group=names("g")) as consumer:
        await consumer.settle(offsets={partition: 100})
    async with bus.assign([partition], group=names("g")) if pinned else bus.subscribe(names("g"), [topic]) as consumer:
        assert values(await waiting.collect(consumer, 3)) == [0, 1, 2]


async def test_times_that_do_not_rise_are_looked_up_in_the_order_of_offsets(bus: port.Bus, names: naming.Names) -> None:
    """The first record by offset that is stamped then or later, zero included; within one call as over several."""
    topic = await make(bus, names("t"), 2, retention_ms=None)
    partition = port.TopicPartition(topic, 0)
    stamps = [5_000, 1_000, 9_000, 0, 7_000]
    for part in (stamps[:2], stamps[2:]):
        await bus.publish([port.NewRecord(topic, b"x", partition=0, timestamp_ms=stamp) for stamp in part])
    assert [record.timestamp_ms for record in await everything(bus, topic, 5)] == stamps
    asked = [0, 1_000, 5_000, 5_001, 7_000, 9_000, 9_001]
    assert [await bus.offset_at(partition, stamp) for stamp in asked] == [0, 0, 0, 2, 2, 2, 5]
    assert await bus.offset_at(port.TopicPartition(topic, 1), 0) == 0


async def test_a_paused_partition_may_be_sought(bus: port.Bus, names: naming.Names) -> None:
    """What was fetched ahead of the pause is not given after it."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 10)
    async with bus.assign([partition]) as consumer:
        assert values((await consumer.fetch(records_max=2, wait_s=10))[partition]) == [0, 1]
        consumer.pause([partition])
        consumer.pause([partition])
        await consumer.seek(partition, 7)
        assert await consumer.fetch(wait_s=0.2) == {}
        assert consumer.position(partition) == 7
        consumer.resume([partition])
        assert values(await waiting.collect(consumer, 3)) == [7, 8, 9]


async def test_a_consumer_of_nothing_has_nothing(bus: port.Bus) -> None:
    """No partitions, no topics: empty answers, no error."""
    async with bus.assign([]) as consumer:
        assert consumer.assignment() == frozenset()
        assert await consumer.fetch(wait_s=0.05) == {}
    assert await bus.lag("nobody", []) == {}
    await bus.create_topics([])


async def test_partitions_that_another_bus_added_are_known_when_they_are_asked_for(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """Offsets, lag and readers, of a topic that this bus has met with fewer."""
    topic = await make(bus, names("t"), 1)
    await numbered(bus, topic, 0, 1)
    assert set(await bus.lag(names("g"), [topic])) == {port.TopicPartition(topic, 0)}
    async with buses.open_bus(place) as other:
        await other.alter_topic(msgspec.structs.replace((await bus.topics())[topic], partitions=3))
        await other.publish([port.NewRecord(topic, b"7", partition=2)])
    lag = {partition.partition: count for partition, count in (await bus.lag(names("g"), [topic])).items()}
    assert lag == {0: 1, 1: 0, 2: 1}
    added = port.TopicPartition(topic, 2)
    assert await bus.offsets(added) == (0, 1)
    async with bus.assign([added]) as consumer:
        assert values(await waiting.collect(consumer, 1)) == [7]


async def test_a_topic_that_exists_keeps_its_settings(bus: port.Bus, names: naming.Names) -> None:
    """Declared otherwise it is no conflict, and nothing changes; declared twice in one call it is made once."""
    spec = port.TopicSpec(name=names("t"), partitions=2, retention_ms=60_000_000)
    await bus.create_topics([spec, spec])
    await bus.create_topics([msgspec.structs.replace(spec, retention_ms=None, record_bytes_max=5_000)])
    found = (await bus.topics())[spec.name]
    assert (found.partitions, found.retention_ms, found.record_bytes_max) == (2, 60_000_000, spec.record_bytes_max)


async def test_a_table_of_thousands_of_rows_is_scanned_whole(bus: port.Bus, names: naming.Names) -> None:
    """In the order of keys; one that is not there can be deleted."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    rows = {b"%05d" % (number * 7919 % 2_500): b"%d" % number + bytes(1_000) for number in range(2_500)}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(state={("table", 0): {**rows, b"never": None}}, offsets={partition: 1})
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        found = await consumer.state_scan("table", 0)
    assert [key for key, _ in found] == [b"%05d" % number for number in range(2_500)]
    assert dict(found) == rows


@pytest.mark.parametrize("atomic", [False, True])
async def test_settles_at_the_same_time_do_not_disturb_each_other(
    bus: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """Of one consumer, each of another partition: rows, outputs and offsets of all are there."""
    topic, output = await make(bus, names("t"), 4), await make(bus, names("out"))
    partitions = [port.TopicPartition(topic, number) for number in range(4)]

    async def settle(consumer: port.Consumer, partition: port.TopicPartition) -> None:
        for step in range(1, 4):
            await consumer.settle(
                records=[port.NewRecord(output, b"%d%d" % (partition.partition, step))],
                state={("table", partition.partition): {b"step": b"%d" % step}},
                offsets={partition: step},
                atomic=atomic,
            )

    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 4)
        await asyncio.gather(*(settle(consumer, partition) for partition in partitions))
        assert [await consumer.state_get("table", number, b"step") for number in range(4)] == [b"3"] * 4

    async def seen() -> bool:
        outputs = [value or b"" for value in await contents(bus, output)]
        whole = all(
            [each for each in outputs if each[:1] == b"%d" % n] == [b"%d%d" % (n, s) for s in (1, 2, 3)]
            for n in range(4)
        )
        return whole and await bus.committed(names("g")) == dict.fromkeys(partitions, 3)

    await waiting.eventually(seen, "what all of them settled is there", deadline_s=5)
