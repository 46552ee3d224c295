"""The contract: a reader knows how far it is, so that it can read to the end, all of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import naming, waiting
from tests.support.records import make, numbered, values

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import ends, port

SOON_S = 5.0
"""Much less than `ends.STALLED_S`: the end was reached, not given up."""


async def rest(bus: port.Bus, consumer: port.Consumer) -> list[port.Record]:
    """What is left up to the present end of all that `consumer` reads."""
    until = await ends.of(bus, consumer.assignment())
    async with asyncio.timeout(SOON_S):
        return [record async for batch in ends.read_up_to(consumer, until) for record in batch]


async def test_a_position_is_the_offset_after_what_was_given(bus: port.Bus, names: naming.Names) -> None:
    """It moves with what `fetch` returns, not with what is fetched ahead, and with `seek`; others' have none."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 10)
    async with bus.assign([partition]) as consumer:
        assert consumer.position(partition) == 0
        for expected in (3, 6, 9):
            assert len((await consumer.fetch(records_max=3, wait_s=10))[partition]) == 3
            assert consumer.position(partition) == expected
        await consumer.seek(partition, 4)
        assert consumer.position(partition) == 4
        with pytest.raises(errors.UsageError):
            consumer.position(port.TopicPartition(topic, 1))


async def test_all_partitions_are_read_to_their_ends(bus: port.Bus, names: naming.Names) -> None:
    """Each record below the ends once, empty partitions included; a second time only what is new."""
    topic = await make(bus, names("t"), 3)
    await numbered(bus, topic, 0, 1200)
    await numbered(bus, topic, 1200, 3, partition=2)
    async with bus.assign([port.TopicPartition(topic, number) for number in range(3)]) as consumer:
        assert sorted(values(await rest(bus, consumer))) == list(range(1203))
        assert await rest(bus, consumer) == []
        await numbered(bus, topic, 1203, 1, partition=1)
        assert values(await rest(bus, consumer)) == [1203]


async def test_the_end_is_reached_over_offsets_without_records(bus: port.Bus, names: naming.Names) -> None:
    """A transaction's marker may be the last that a partition holds: no record, yet the reader is at the end soon."""
    topic, output = await make(bus, names("t")), await make(bus, names("out"))
    partition = port.TopicPartition(output, 0)
    async with bus.subscribe(names("g"), [topic]) as member:
        await waiting.assigned(member, 1)
        for number in range(3):
            await member.settle(
                records=[port.NewRecord(output, b"%d" % number)],
                offsets={port.TopicPartition(topic, 0): number},
                atomic=True,
            )

        async def visible() -> bool:
            async with bus.assign([partition]) as reader:
                return values(await rest(bus, reader)) == [0, 1, 2]

        await waiting.eventually(visible, "three records and then the end")


async def test_the_end_is_reached_where_retention_took_everything(bus: port.Bus, names: naming.Names) -> None:
    """A reader that was behind gets past what is gone, and then reads what comes."""
    topic = await make(bus, names("t"), retention_ms=60_000)
    partition = port.TopicPartition(topic, 0)
    async with bus.assign([partition]) as consumer:
        consumer.pause([partition])
        await numbered(bus, topic, 0, 5, stamp_ms=clocks.now_ms(clocks.SystemClock()) - 3_600_000)

        async def gone() -> bool:
            return await bus.offsets(partition) == (5, 5)

        await waiting.eventually(gone, "five records are gone", 45)
        consumer.resume([partition])
        assert values(await rest(bus, consumer)) in ([], [0, 1, 2, 3, 4])  # what was fetched ahead is still given
        assert consumer.position(partition) == 5
        await numbered(bus, topic, 5, 1)
        assert values(await rest(bus, consumer)) == [5]
