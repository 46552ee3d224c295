"""The contract: what a member is told of its partitions, and what of them lasts from one owner to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.support import naming, waiting
from tests.support.records import make, numbered, values

from sixfold.bus import port


class Told:
    """A listener that notes its calls; `gate` keeps on_assigned from returning, `error` is what it raises."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def on_assigned(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append("assigned")
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate.wait()

    async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append("revoked")

    async def on_lost(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append("lost")


async def test_no_record_comes_before_on_assigned_has_returned(bus: port.Bus, names: naming.Names) -> None:
    """Whoever loads what it needs there has it when the first record comes."""
    topic, told = await make(bus, names("t")), Told()
    told.gate = asyncio.Event()
    await numbered(bus, topic, 0, 3)
    consumer = bus.subscribe(names("g"), [topic], listener=told)
    opening = asyncio.create_task(consumer.__aenter__())
    await waiting.eventually(lambda: told.calls == ["assigned"], "the listener is told")
    if opening.done():  # a back end may open before there are partitions
        assert await consumer.fetch(wait_s=0.2) == {}
    told.gate.set()
    await opening
    assert values(await waiting.collect(consumer, 3)) == [0, 1, 2]
    await consumer.__aexit__(None, None, None)


async def test_what_a_listener_raises_reaches_whoever_fetches_or_opens(bus: port.Bus, names: naming.Names) -> None:
    """It is not lost in a task that nobody looks at."""
    topic, told = await make(bus, names("t")), Told()
    told.error = ValueError("the listener's own")

    async def use() -> None:
        async with bus.subscribe(names("g"), [topic], listener=told) as consumer:
            while True:
                await consumer.fetch(wait_s=5)

    with pytest.raises(ValueError, match="own"):
        await asyncio.wait_for(use(), waiting.DEADLINE_S)


async def test_a_member_that_closes_is_told_nothing_of_it(bus: port.Bus, names: naming.Names) -> None:
    """It knows: closing is its own doing."""
    topic, told = await make(bus, names("t"), 2), Told()
    async with bus.subscribe(names("g"), [topic], listener=told) as consumer:
        await waiting.assigned(consumer, 2)
        assert set(told.calls) == {"assigned"}
        told.calls.clear()
    assert told.calls == []
    assert consumer.assignment() == frozenset()


async def test_a_partition_comes_back_as_new(bus: port.Bus, names: naming.Names) -> None:
    """Not paused any more, and at its committed offset, whatever was read or sought before it went."""
    topic = await make(bus, names("t"), 2)
    for number in range(2):
        await numbered(bus, topic, 10 * number, 3, partition=number)
    async with bus.subscribe(names("g"), [topic]) as one:
        both = await waiting.assigned(one, 2)
        await waiting.collect(one, 6)
        await one.settle(offsets=dict.fromkeys(both, 2))
        one.pause(sorted(both))
        async with bus.subscribe(names("g"), [topic]) as two:
            (moved,) = await waiting.assigned(two, 1)
            await waiting.assigned(one, 1)
            assert values(await waiting.collect(two, 1)) == [10 * moved.partition + 2]
            await two.settle(offsets={moved: 1})
        await waiting.assigned(one, 2)
        assert one.position(moved) == 1
        found = [record for record in await waiting.collect(one, 2) if record.partition == moved.partition]
        assert [record.offset for record in found][:2] == [1, 2]


async def test_members_of_one_group_may_read_different_topics(bus: port.Bus, names: naming.Names) -> None:
    """As while a deployment adds a topic: each gets what it subscribed to, and all of it has an owner."""
    old, new = await make(bus, names("old"), 2), await make(bus, names("new"), 2)
    every = {port.TopicPartition(topic, number) for topic in (old, new) for number in range(2)}
    async with bus.subscribe(names("g"), [old]) as one, bus.subscribe(names("g"), [old, new]) as two:

        def all_owned() -> bool:
            return one.assignment() | two.assignment() == every and not one.assignment() & two.assignment()

        await waiting.eventually(all_owned, "every partition has one owner")
        assert {partition.topic for partition in one.assignment()} == {old}
        for topic in (old, new):
            for number in range(2):
                await numbered(bus, topic, number, 1, partition=number)
        found = await asyncio.gather(*(waiting.collect(member, len(member.assignment())) for member in (one, two)))
        assert {port.TopicPartition(record.topic, record.partition) for part in found for record in part} == every


async def test_a_note_is_the_one_that_was_settled_last(bus: port.Bus, names: naming.Names) -> None:
    """Also by this consumer itself; and any text that may be one, a back end's own words included."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    for note, atomic in (("atomic", False), ("atomic", True), ("~!{}", False), ("", True), ("", False)):
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 1)
            await consumer.settle(offsets={partition: 1}, notes={partition: note}, atomic=atomic)
            assert await consumer.note(partition) == note
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 1)
            assert await consumer.note(partition) == note


async def test_rows_of_a_partition_that_went_are_not_read_any_more(bus: port.Bus, names: naming.Names) -> None:
    """FencedError: they are the next owner's to change."""
    topic = await make(bus, names("t"), 2)
    async with bus.subscribe(names("g"), [topic]) as one:
        await waiting.assigned(one, 2)
        await one.settle(
            state={("table", number): {b"k": b"v"} for number in range(2)},
            offsets={port.TopicPartition(topic, number): 1 for number in range(2)},
        )
        async with bus.subscribe(names("g"), [topic]) as two:
            (moved,) = await waiting.assigned(two, 1)
            await waiting.assigned(one, 1)
            assert await two.state_get("table", moved.partition, b"k") == b"v"
            with pytest.raises(port.FencedError):
                await one.state_get("table", moved.partition, b"k")
            with pytest.raises(port.FencedError):
                await one.seek(moved, 0)
