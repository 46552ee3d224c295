"""The contract: tables belong to a group and a partition."""

from __future__ import annotations

import msgspec
import pytest
from tests.support import naming, waiting
from tests.support.records import make

from sixfold.bus import port


async def put(
    consumer: port.Consumer, topic: str, number: int, rows: dict[bytes, bytes | None], table: str = "table"
) -> None:
    """Store rows of a partition."""
    await consumer.settle(
        state={(table, number): rows},
        offsets={port.TopicPartition(topic, number): 1},
    )


async def test_rows_are_scanned_in_the_order_of_their_keys(bus: port.Bus, names: naming.Names) -> None:
    """Bytes compare as bytes, whatever order they were stored in."""
    topic = await make(bus, names("t"))
    keys = [b"b", b"", b"\xff", b"a", b"ab", b"\x00", b"B"]
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await put(consumer, topic, 0, {key: b"v" + key for key in keys})
        assert await consumer.state_scan("table", 0) == [(key, b"v" + key) for key in sorted(keys)]
        assert await consumer.state_scan("nothing", 0) == []


async def test_a_row_is_replaced_and_deleted(bus: port.Bus, names: naming.Names) -> None:
    """The last value counts; None takes the row away; an empty value is a value."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await put(consumer, topic, 0, {b"a": b"1", b"b": b"1", b"c": b"1"})
        await put(consumer, topic, 0, {b"a": b"2", b"b": None, b"c": b""})
        assert await consumer.state_scan("table", 0) == [(b"a", b"2"), (b"c", b"")]
        assert await consumer.state_get("table", 0, b"b") is None
        assert await consumer.state_get("table", 0, b"c") == b""
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        assert await consumer.state_scan("table", 0) == [(b"a", b"2"), (b"c", b"")]


async def test_groups_partitions_and_tables_do_not_see_each_others_rows(bus: port.Bus, names: naming.Names) -> None:
    """The same key in all of them is as many rows."""
    topic = await make(bus, names("t"), 2)
    async with bus.subscribe(names("g"), [topic]) as one, bus.subscribe(names("h"), [topic]) as two:
        await waiting.assigned(one, 2)
        await waiting.assigned(two, 2)
        await put(one, topic, 0, {b"k": b"g0"})
        await put(one, topic, 1, {b"k": b"g1"})
        await put(one, topic, 1, {b"k": b"other"}, table="other")
        await put(two, topic, 0, {b"k": b"h0"})
        assert await one.state_get("table", 0, b"k") == b"g0"
        assert await one.state_get("table", 1, b"k") == b"g1"
        assert await one.state_get("other", 1, b"k") == b"other"
        assert await one.state_get("other", 0, b"k") is None
        assert await two.state_get("table", 0, b"k") == b"h0"
        assert await two.state_get("table", 1, b"k") is None


@pytest.mark.parametrize("standby", [False, True])
@pytest.mark.parametrize("atomic", [False, True])
async def test_state_moves_with_its_partition(
    bus: port.Bus, names: naming.Names, *, atomic: bool, standby: bool
) -> None:
    """Whoever gets the partition finds the rows, there and back again, with what the other changed meanwhile, whether or
    not they had copies of them before."""
    topic = await make(bus, names("t"), 2)

    async def add(consumer: port.Consumer) -> dict[int, int]:
        counts = {}
        for partition in sorted(consumer.assignment()):
            number = partition.partition
            count = int(await consumer.state_get("count", number, b"n") or b"0") + 1
            await consumer.settle(
                state={("count", number): {b"n": b"%d" % count}}, offsets={partition: count}, atomic=atomic
            )
            counts[number] = count
        return counts

    async with bus.subscribe(names("g"), [topic], standby=standby) as one:
        await waiting.assigned(one, 2)
        assert await add(one) == {0: 1, 1: 1}
        async with bus.subscribe(names("g"), [topic], standby=standby) as two:
            await waiting.assigned(one, 1)
            await waiting.assigned(two, 1)
            assert {**await add(one), **await add(two)} == {0: 2, 1: 2}
        await waiting.assigned(one, 2)
        assert await add(one) == {0: 3, 1: 3}

    async def committed() -> bool:
        return set((await bus.committed(names("g"))).values()) == {3}

    await waiting.eventually(committed, "both partitions are committed", deadline_s=5)


async def test_several_tables_change_together(bus: port.Bus, names: naming.Names) -> None:
    """Rows of two tables of one partition in one settle: a crash never leaves only one of them."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        for step in range(1, 4):
            await consumer.settle(
                state={(table, 0): {b"k": b"%d" % step} for table in ("left", "right")},
                offsets={partition: step},
            )
    async with bus.assign([partition], group=names("g")) as reader:
        assert await reader.state_get("left", 0, b"k") == await reader.state_get("right", 0, b"k") == b"3"


async def test_a_row_takes_as_many_bytes_as_the_port_says_and_a_much_larger_one_is_refused(
    bus: port.Bus, names: naming.Names
) -> None:
    """The largest row is stored and read back; of a settle with a larger one nothing is stored."""
    topic = await make(bus, names("t"))
    largest = bytes(port.ROW_BYTES_MAX - 1)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await put(consumer, topic, 0, {b"k": largest})
        with pytest.raises(port.RecordTooLargeError):
            await put(consumer, topic, 0, {b"k": b"small", b"l": bytes(port.ROW_BYTES_MAX + 2_000)})
    async with bus.assign([port.TopicPartition(topic, 0)], group=names("g")) as reader:
        assert await reader.state_scan("table", 0) == [(b"k", largest)]


async def test_a_topic_that_gets_more_partitions_has_tables_for_them(bus: port.Bus, names: naming.Names) -> None:
    """Rows of the new partitions are stored beside those that were there."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await put(consumer, topic, 0, {b"k": b"old"})
    await bus.alter_topic(msgspec.structs.replace((await bus.topics())[topic], partitions=3))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 3)
        await put(consumer, topic, 2, {b"k": b"new"})
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 3)
        found = [await consumer.state_scan("table", number) for number in range(3)]
        assert found == [[(b"k", b"old")], [], [(b"k", b"new")]]


async def test_tables_are_no_topics_of_the_user(bus: port.Bus, names: naming.Names) -> None:
    """However a back end keeps them, `topics` does not show it."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await put(consumer, topic, 0, {b"k": b"v"})
    mine = [name for name in await bus.topics() if names("") in name]
    assert mine == [topic]
