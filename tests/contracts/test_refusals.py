"""The contract: what cannot be meant is refused, alike on every back end, and nothing of the call is stored."""

from __future__ import annotations

import pytest
from tests.support import naming, waiting
from tests.support.records import contents, make, numbered, values

from sixfold import errors
from sixfold.bus import port


@pytest.mark.parametrize("name", ["", ".", "two words", "größe", "a/b", "x" * 250])
async def test_a_topic_name_that_kafka_would_not_take_is_refused(bus: port.Bus, names: naming.Names, name: str) -> None:
    """UsageError; the other topics of the call are not made."""
    with pytest.raises(errors.UsageError):
        await bus.create_topics([port.TopicSpec(name=names("good"), partitions=1), port.TopicSpec(name=name)])
    assert names("good") not in await bus.topics()


async def test_a_topic_has_at_least_one_partition(bus: port.Bus, names: naming.Names) -> None:
    """UsageError, and no topic."""
    with pytest.raises(errors.UsageError):
        await bus.create_topics([port.TopicSpec(name=names("none"), partitions=0)])
    assert names("none") not in await bus.topics()


async def test_a_partition_that_the_topic_does_not_have_is_refused_whatever_is_asked_of_it(
    bus: port.Bus, names: naming.Names
) -> None:
    """UsageError with the numbers that there are: publishing, pinning, offsets, an offset at a time."""
    topic = await make(bus, names("t"), 2)
    for number in (2, -1):
        strange = port.TopicPartition(topic, number)
        with pytest.raises(errors.UsageError, match="0 to 1"):
            await bus.publish([port.NewRecord(topic, b"good"), port.NewRecord(topic, b"bad", partition=number)])
        with pytest.raises(errors.UsageError, match="0 to 1"):
            async with bus.assign([strange]):
                pass
        with pytest.raises(errors.UsageError, match="0 to 1"):
            await bus.offsets(strange)
        with pytest.raises(errors.UsageError, match="0 to 1"):
            await bus.offset_at(strange, 0)
    assert await bus.lag(names("g"), [topic]) == {port.TopicPartition(topic, number): 0 for number in range(2)}


async def test_a_record_is_as_large_as_its_topic_says_and_not_a_byte_more(bus: port.Bus, names: naming.Names) -> None:
    """Key, value and headers together, to the byte."""
    topic = await make(bus, names("t"), record_bytes_max=1_000)
    key, headers = b"k" * 100, [("h" * 10, b"v" * 90)]
    for size in (800, 801):
        record = port.NewRecord(topic, bytes(size), key=key, headers=headers)
        if size == 800:
            await bus.publish([record])
        else:
            with pytest.raises(port.RecordTooLargeError):
                await bus.publish([record])
    assert [len(value or b"") for value in await contents(bus, topic)] == [800]


async def test_a_record_without_a_key_is_refused_where_the_newest_of_each_key_is_kept(
    bus: port.Bus, names: naming.Names
) -> None:
    """UsageError, as a compacted topic has no use for it; what else was in the call is not stored."""
    topic = await make(bus, names("t"), cleanup=port.Cleanup.COMPACT, retention_ms=None)
    with pytest.raises(errors.UsageError, match="key"):
        await bus.publish([port.NewRecord(topic, b"good", key=b"k"), port.NewRecord(topic, b"bad")])
    await bus.publish([port.NewRecord(topic, b"next", key=b"k")])
    assert await contents(bus, topic) == [b"next"]


@pytest.mark.parametrize(
    "note", ["x" * (port.NOTE_CHARS_MAX + 1), "größe", "two words"], ids=["too long", "not ASCII", "spaces"]
)
async def test_a_note_that_cannot_be_kept_is_refused(bus: port.Bus, names: naming.Names, note: str) -> None:
    """UsageError, and nothing of the settle is stored."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    async with bus.assign([partition], group=names("g")) as consumer:
        with pytest.raises(errors.UsageError):
            await consumer.settle(
                records=[port.NewRecord(topic, b"never")], offsets={partition: 1}, notes={partition: note}
            )
    assert await bus.committed(names("g")) == {}
    assert await contents(bus, topic) == []


async def test_a_note_without_its_offset_is_refused(bus: port.Bus, names: naming.Names) -> None:
    """It lies beside a committed offset, so it must come with one."""
    topic = await make(bus, names("t"), 2)
    one, two = port.TopicPartition(topic, 0), port.TopicPartition(topic, 1)
    async with bus.assign([one, two], group=names("g")) as consumer:
        with pytest.raises(errors.UsageError):
            await consumer.settle(offsets={one: 1}, notes={two: "note"})
    assert await bus.committed(names("g")) == {}


@pytest.mark.parametrize("atomic", [False, True])
async def test_an_offset_below_zero_is_refused(bus: port.Bus, names: naming.Names, *, atomic: bool) -> None:
    """To commit as to seek: UsageError, and all is as before."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 3)
    async with bus.assign([partition], group=names("g")) as consumer:
        with pytest.raises(errors.UsageError):
            await consumer.settle(records=[port.NewRecord(topic, b"9")], offsets={partition: -1}, atomic=atomic)
        with pytest.raises(errors.UsageError):
            await consumer.seek(partition, -1)
        assert values(await waiting.collect(consumer, 3)) == [0, 1, 2]
    assert await bus.committed(names("g")) == {}


@pytest.mark.parametrize("table", ["", "größe", "a.b", "x" * 51])
async def test_a_table_has_a_name_that_any_back_end_can_carry(bus: port.Bus, names: naming.Names, table: str) -> None:
    """UsageError for others, to store as to read; nothing of the settle is stored."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    async with bus.assign([partition], group=names("g")) as consumer:
        with pytest.raises(errors.UsageError):
            await consumer.settle(state={(table, 0): {b"k": b"v"}}, offsets={partition: 1})
        with pytest.raises(errors.UsageError):
            await consumer.state_get(table, 0, b"k")
    assert await bus.committed(names("g")) == {}


async def test_of_a_partition_that_is_not_assigned_there_is_nothing_to_have(bus: port.Bus, names: naming.Names) -> None:
    """No position, no rows and nowhere to seek; to pause or resume it is nothing, as it may just have gone."""
    topic = await make(bus, names("t"), 2)
    mine, other = port.TopicPartition(topic, 0), port.TopicPartition(topic, 1)
    await numbered(bus, topic, 0, 2)
    async with bus.assign([mine], group=names("g")) as consumer:
        with pytest.raises(errors.UsageError):
            consumer.position(other)
        with pytest.raises(port.FencedError):
            await consumer.seek(other, 0)
        with pytest.raises(port.FencedError):
            await consumer.state_get("table", 1, b"k")
        with pytest.raises(port.FencedError):
            await consumer.state_scan("table", 1)
        assert await consumer.note(other) == ""
        consumer.pause([other, mine])
        consumer.resume([mine, other])
        assert values(await waiting.collect(consumer, 2)) == [0, 1]


async def test_one_partition_of_another_refuses_the_whole_settle(bus: port.Bus, names: naming.Names) -> None:
    """FencedError; the offsets of those that are this member's are not committed either."""
    topic = await make(bus, names("t"), 2)
    async with bus.subscribe(names("g"), [topic]) as one, bus.subscribe(names("g"), [topic]) as two:
        await waiting.assigned(one, 1)
        await waiting.assigned(two, 1)
        with pytest.raises(port.FencedError):
            await one.settle(offsets={port.TopicPartition(topic, number): 1 for number in range(2)})
    assert await bus.committed(names("g")) == {}
