"""The contract at its edges: the smallest and the largest, nothing at all, and several at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.support import buses, naming, waiting
from tests.support.records import contents, everything, make, numbered, values

from sixfold.bus import port


@pytest.mark.parametrize("size", [0, 1, 255, 65_535, 999_000])
async def test_a_value_of_any_size_comes_back(bus: port.Bus, names: naming.Names, size: int) -> None:
    """Up to the topic's limit, byte for byte."""
    topic = await make(bus, names("t"))
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    await bus.publish([port.NewRecord(topic, value, key=b"k")])
    assert [record.value for record in await everything(bus, topic, 1)] == [value]


@pytest.mark.parametrize("size", [1, 300, 60_000])
async def test_a_key_of_any_size_comes_back(bus: port.Bus, names: naming.Names, size: int) -> None:
    """It is in one partition, however long."""
    topic = await make(bus, names("t"), 3)
    key = bytes([7]) * size
    positions = await bus.publish([port.NewRecord(topic, b"%d" % number, key=key) for number in range(3)])
    assert len({position.partition for position in positions}) == 1
    assert [record.key for record in await everything(bus, topic, 3, 3)] == [key] * 3


@pytest.mark.parametrize("atomic", [None, False, True])
async def test_a_record_may_be_nothing_but_headers(bus: port.Bus, names: naming.Names, *, atomic: bool | None) -> None:
    """Published or settled: whoever sets a record aside that has neither key nor value must be able to keep it."""
    topic = await make(bus, names("t"))
    records = [
        port.NewRecord(topic, b"1"),
        port.NewRecord(topic, None, headers=[("h", b"2")]),
        port.NewRecord(topic, b"3"),
    ]
    if atomic is None:
        assert [position.offset for position in await bus.publish(records)] == [0, 1, 2]
    else:
        source = port.TopicPartition(await make(bus, names("source")), 0)
        async with bus.assign([source], group=names("g")) as consumer:
            await consumer.settle(records=records, offsets={source: 1}, atomic=atomic)
    found = await everything(bus, topic, 3)
    assert [(record.key, record.value) for record in found] == [(None, b"1"), (None, None), (None, b"3")]
    assert [tuple(header) for header in found[1].headers] == [("h", b"2")]


async def test_many_headers_come_back(bus: port.Bus, names: naming.Names) -> None:
    """Hundreds, in their order, the empty name among them."""
    topic = await make(bus, names("t"))
    headers = [("", b"nameless"), *((f"h{number}", b"%d" % number) for number in range(300))]
    await bus.publish([port.NewRecord(topic, b"v", headers=headers)])
    (record,) = await everything(bus, topic, 1)
    assert [tuple(header) for header in record.headers] == headers


async def test_a_topic_of_many_partitions_is_read_whole(bus: port.Bus, names: naming.Names) -> None:
    """Forty, some of them empty."""
    topic = await make(bus, names("t"), 40)
    for number in range(0, 40, 3):
        await numbered(bus, topic, number, 1, partition=number)
    assert sorted(values(await everything(bus, topic, 14, 40))) == list(range(0, 40, 3))


@pytest.mark.parametrize("most", [1, 2, 7, 100])
async def test_whatever_a_fetch_takes_at_most_order_and_number_are_the_same(
    bus: port.Bus, names: naming.Names, most: int
) -> None:
    """Each record once, in the order of its partition."""
    topic = await make(bus, names("t"), 2)
    for number in range(2):
        await numbered(bus, topic, 0, 20, partition=number)
    found: dict[int, list[int]] = {0: [], 1: []}
    async with bus.assign([port.TopicPartition(topic, number) for number in range(2)]) as consumer:

        async def all_read() -> bool:
            batches = await consumer.fetch(records_max=most, wait_s=0.5)
            assert sum(map(len, batches.values())) <= most
            for partition, records in batches.items():
                found[partition.partition] += values(records)
            return sum(map(len, found.values())) >= 40

        await waiting.eventually(all_read, "all records")
    assert found == {0: list(range(20)), 1: list(range(20))}


async def test_a_fetch_that_is_cancelled_takes_no_record_with_it(bus: port.Bus, names: naming.Names) -> None:
    """Whatever comes at that moment is given by the next one."""
    topic = await make(bus, names("t"))
    async with bus.assign([port.TopicPartition(topic, 0)]) as consumer:
        found: list[int] = []
        for number in range(10):
            fetching = asyncio.create_task(consumer.fetch(wait_s=5))
            await asyncio.sleep(0)
            await numbered(bus, topic, number, 1)
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                for records in (await fetching).values():
                    found += values(records)
        while len(found) < 10:
            found += values(await waiting.collect(consumer, 10 - len(found)))
        assert found == list(range(10))


async def test_a_seek_to_the_end_skips_what_is_there(bus: port.Bus, names: naming.Names) -> None:
    """And misses nothing that comes after it."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 5)
    async with bus.assign([partition]) as consumer:
        await consumer.seek(partition, (await bus.offsets(partition)).end)
        await numbered(bus, topic, 5, 2)
        assert values(await waiting.collect(consumer, 2)) == [5, 6]


async def test_a_group_that_nobody_knows_has_committed_nothing_and_lags_by_all(
    bus: port.Bus, names: naming.Names
) -> None:
    """No error: a function that never ran is asked for, too."""
    topic = await make(bus, names("t"), 2)
    await numbered(bus, topic, 0, 3, partition=1)
    assert await bus.committed(names("nobody")) == {}
    lag = await bus.lag(names("nobody"), [topic])
    assert {partition.partition: records for partition, records in lag.items() if records} == {1: 3}


async def test_a_member_reads_several_topics(bus: port.Bus, names: naming.Names) -> None:
    """Of different numbers of partitions, each from its own start."""
    topics = [await make(bus, names(name), count) for name, count in (("a", 1), ("b", 2), ("c", 3))]
    for index, topic in enumerate(topics):
        await numbered(bus, topic, 10 * index, 2)
    async with bus.subscribe(names("g"), topics) as consumer:
        assert sorted(values(await waiting.collect(consumer, 6))) == [0, 1, 10, 11, 20, 21]


async def test_partitions_of_one_number_go_together(bus: port.Bus, names: naming.Names) -> None:
    """Over all topics of the group: its tables belong to the number."""
    topics = [await make(bus, names(name), 4) for name in ("a", "b")]
    async with bus.subscribe(names("g"), topics) as one:
        await waiting.assigned(one, 8)
        async with bus.subscribe(names("g"), topics) as two:
            await waiting.assigned(one, 4)
            await waiting.assigned(two, 4)
            for member in (one, two):
                held = [{each.partition for each in member.assignment() if each.topic == topic} for topic in topics]
                assert held[0] == held[1]


async def test_two_buses_publish_to_one_partition(bus: port.Bus, place: buses.Place, names: naming.Names) -> None:
    """Side by side: everything is stored, each one's records in its order."""
    topic = await make(bus, names("t"))

    async def publish(connection: port.Bus, first: int) -> None:
        for number in range(first, first + 15, 3):
            await numbered(connection, topic, number, 3)

    async with buses.open_bus(place) as other:
        await asyncio.gather(publish(bus, 0), publish(other, 100))
    found = [int(value or b"-1") for value in await contents(bus, topic)]
    assert [number for number in found if number < 100] == list(range(15))
    assert [number for number in found if number >= 100] == list(range(100, 115))


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("parts", ["records", "offsets", "rows", "all"])
async def test_a_settle_may_have_any_of_its_parts(
    bus: port.Bus, names: naming.Names, parts: str, *, atomic: bool
) -> None:
    """Outputs alone, offsets alone, rows with their offset, or all; what was not in it is as before."""
    topic, output = await make(bus, names("t")), await make(bus, names("out"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 3)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.collect(consumer, 3)
        await consumer.settle(
            records=[port.NewRecord(output, b"made")] if parts in ("records", "all") else (),
            state={("table", 0): {b"k": b"row"}} if parts in ("rows", "all") else {},
            offsets={} if parts == "records" else {partition: 2},
            atomic=atomic,
        )
        assert await consumer.state_get("table", 0, b"k") == (b"row" if parts in ("rows", "all") else None)
    offsets = {} if parts == "records" else {partition: 2}
    outputs = [b"made"] if parts in ("records", "all") else []

    async def seen() -> bool:  # what a transaction stored is visible moments after it is decided
        return (await bus.committed(names("g")), await contents(bus, output)) == (offsets, outputs)

    await waiting.eventually(seen, f"{offsets} and {outputs} are there", deadline_s=5)


@pytest.mark.parametrize("key", [b"", b"\x00", b"\xff" * 300, "größe/ключ".encode()])
async def test_a_row_has_any_bytes_for_its_key(bus: port.Bus, names: naming.Names, key: bytes) -> None:
    """And is found by it again in the next owner's hands."""
    topic = await make(bus, names("t"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(state={("table", 0): {key: b"row"}}, offsets={port.TopicPartition(topic, 0): 1})
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        assert await consumer.state_get("table", 0, key) == b"row"
        assert await consumer.state_scan("table", 0) == [(key, b"row")]


async def test_a_settle_takes_a_row_with_a_long_key_and_one_with_a_large_value(
    bus: port.Bus, names: naming.Names
) -> None:
    """Each row by itself is small enough, which is what counts."""
    topic, rows = await make(bus, names("t")), {b"k" * 600_000: b"row", b"key": bytes(600_000)}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(state={("table", 0): rows}, offsets={port.TopicPartition(topic, 0): 1})
        assert dict(await consumer.state_scan("table", 0)) == rows


async def test_the_longest_note_is_kept(bus: port.Bus, names: naming.Names) -> None:
    """`port.NOTE_CHARS_MAX` characters."""
    topic = await make(bus, names("t"))
    partition, note = port.TopicPartition(topic, 0), "x" * port.NOTE_CHARS_MAX
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(offsets={partition: 1}, notes={partition: note})
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        assert await consumer.note(partition) == note
