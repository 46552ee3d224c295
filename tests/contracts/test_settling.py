"""The contract: records, rows and offsets are settled together."""

from __future__ import annotations

import pytest
from tests.support import buses, naming, waiting
from tests.support.records import contents, make, numbered, values

from sixfold import errors
from sixfold.bus import port


async def committed(bus: port.Bus, group: str, offsets: dict[port.TopicPartition, int]) -> None:
    """Wait until others see these committed offsets: a transaction's become visible moments after it is decided."""

    async def seen() -> bool:
        return await bus.committed(group) == offsets

    await waiting.eventually(seen, f"committed offsets are {offsets}", deadline_s=5)


async def holds(bus: port.Bus, topic: str, expected: list[bytes]) -> None:
    """Wait until partition 0 holds these values."""

    async def seen() -> bool:
        return await contents(bus, topic) == expected

    await waiting.eventually(seen, f"the topic holds {expected}", deadline_s=5)


@pytest.mark.parametrize("atomic", [False, True])
async def test_what_is_settled_is_there(
    place: buses.Place, bus: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """Outputs, rows and committed offsets are all visible to others, at once or soon."""
    topic, output = await make(bus, names("t"), 2), await make(bus, names("out"))
    partition = port.TopicPartition(topic, 1)
    await numbered(bus, topic, 0, 3, partition=1)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.collect(consumer, 3)
        for step in range(1, 4):
            await consumer.settle(
                records=[port.NewRecord(output, b"%d" % step, key=b"k", headers=[("h", b"%d" % step)])],
                state={("table", 1): {b"step": b"%d" % step}},
                offsets={partition: step},
                atomic=atomic,
            )
            assert await consumer.state_get("table", 1, b"step") == b"%d" % step
            await committed(bus, names("g"), {partition: step})
    await holds(bus, output, [b"1", b"2", b"3"])
    async with buses.open_bus(place) as elsewhere, elsewhere.assign([partition], group=names("g")) as reader:
        assert await reader.state_scan("table", 1) == [(b"step", b"3")]


@pytest.mark.parametrize("flaw", ["too large", "unknown topic"])
async def test_an_atomic_settle_that_fails_leaves_nothing(bus: port.Bus, names: naming.Names, *, flaw: str) -> None:
    """One bad record, and neither the good ones nor the rows nor the offsets exist; the next settle works."""
    topic, output = await make(bus, names("t")), await make(bus, names("out"), record_bytes_max=1000)
    partition = port.TopicPartition(topic, 0)
    bad = port.NewRecord(output, bytes(5000)) if flaw == "too large" else port.NewRecord(names("never"), b"x")
    expected = port.RecordTooLargeError if flaw == "too large" else port.UnknownTopicError
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        with pytest.raises(expected):
            await consumer.settle(
                records=[port.NewRecord(output, b"good"), bad],
                state={("table", 0): {b"key": b"value"}},
                offsets={partition: 3},
                atomic=True,
            )
        assert await consumer.state_scan("table", 0) == []
        assert await bus.committed(names("g")) == {}
        assert await contents(bus, output) == []
        await consumer.settle(records=[port.NewRecord(output, b"good")], offsets={partition: 3}, atomic=True)
    await holds(bus, output, [b"good"])
    await committed(bus, names("g"), {partition: 3})


async def test_one_atomic_settle_may_span_partitions(bus: port.Bus, names: naming.Names) -> None:
    """Offsets and rows of several partitions, outputs to several topics, in one."""
    topic, one, two = await make(bus, names("t"), 3), await make(bus, names("a")), await make(bus, names("b"))
    offsets = {port.TopicPartition(topic, number): number + 1 for number in range(3)}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 3)
        await consumer.settle(
            records=[port.NewRecord(one, b"1"), port.NewRecord(two, b"2"), port.NewRecord(one, b"3")],
            state={("table", number): {b"key": b"%d" % number} for number in range(3)},
            offsets=offsets,
            atomic=True,
        )
        assert [await consumer.state_get("table", number, b"key") for number in range(3)] == [b"0", b"1", b"2"]
    await committed(bus, names("g"), offsets)
    await holds(bus, one, [b"1", b"3"])
    await holds(bus, two, [b"2"])


async def test_records_may_be_settled_without_offsets(bus: port.Bus, names: naming.Names) -> None:
    """A consumer may append and commit nothing, atomically or not."""
    topic, output = await make(bus, names("t")), await make(bus, names("out"))
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(records=[port.NewRecord(output, b"1")])
        await consumer.settle(records=[port.NewRecord(output, b"2")], atomic=True)
        await consumer.settle()
    await holds(bus, output, [b"1", b"2"])
    assert await bus.committed(names("g")) == {}


async def test_rows_without_their_partitions_offset_are_refused(bus: port.Bus, names: naming.Names) -> None:
    """State carries the position that it reflects, so it must come with one."""
    topic = await make(bus, names("t"), 2)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 2)
        with pytest.raises(errors.UsageError):
            await consumer.settle(state={("table", 1): {b"key": b"value"}}, offsets={port.TopicPartition(topic, 0): 1})
        assert await consumer.state_scan("table", 1) == []
    assert await bus.committed(names("g")) == {}


async def test_committed_offsets_may_go_back(bus: port.Bus, names: naming.Names) -> None:
    """A group that starts again from the beginning commits smaller offsets; the last commit counts."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 5)
    async with bus.assign([partition], group=names("g")) as consumer:
        await consumer.settle(offsets={partition: 5})
        await consumer.settle(offsets={partition: 1})
    assert await bus.committed(names("g")) == {partition: 1}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        assert values(await waiting.collect(consumer, 4)) == [1, 2, 3, 4]


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_note_beside_a_committed_offset_is_found_by_the_next_owner(
    bus: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """Of each partition its own; the last commit counts, also one by another consumer that never asked for the note."""
    topic = await make(bus, names("t"), 2)
    first, second = port.TopicPartition(topic, 0), port.TopicPartition(topic, 1)
    long = "gaps:" + "A" * (port.NOTE_CHARS_MAX - 200)
    steps: list[tuple[dict[port.TopicPartition, str], dict[port.TopicPartition, str]]] = [
        ({first: "gaps:one", second: long}, {first: "gaps:one", second: long}),
        ({second: "gaps:two"}, {first: "", second: "gaps:two"}),
        ({}, {first: "", second: ""}),
    ]
    for step, (notes, expected) in enumerate(steps, 1):
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 2)
            await consumer.settle(offsets={first: step, second: step}, notes=notes, atomic=atomic)
            await committed(bus, names("g"), {first: step, second: step})
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 2)
            assert {each: await consumer.note(each) for each in (first, second)} == expected
        async with bus.assign([second], group=names("g")) as consumer:
            assert await consumer.note(second) == expected[second]
            assert await consumer.state_scan("table", 1) == []
