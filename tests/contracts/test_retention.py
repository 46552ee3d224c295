"""The contract: old records go, by age, by size or by key; "eventually", so within a deadline."""

from __future__ import annotations

from tests.support import naming, waiting
from tests.support.records import make, numbered, values

from sixfold import clock as clocks
from sixfold.bus import port

DEADLINE_S = 45.0


async def test_records_older_than_the_retention_go(bus: port.Bus, names: naming.Names) -> None:
    """By event time; younger ones stay, and a group that had not read the old ones goes on with the young."""
    topic = await make(bus, names("t"), retention_ms=60_000)
    partition = port.TopicPartition(topic, 0)
    now_ms = clocks.now_ms(clocks.SystemClock())
    await numbered(bus, topic, 0, 5, stamp_ms=now_ms - 3_600_000)

    async def gone() -> bool:
        return await bus.offsets(partition) == (5, 5)

    await waiting.eventually(gone, "five old records are gone", DEADLINE_S)
    await numbered(bus, topic, 5, 3)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        assert values(await waiting.collect(consumer, 3)) == [5, 6, 7]
    assert await bus.offsets(partition) == (5, 8)


async def test_a_position_that_retention_took_continues_with_the_first_record_left(
    bus: port.Bus, names: naming.Names
) -> None:
    """A committed offset before the start of the log is no end and no error."""
    topic = await make(bus, names("t"), retention_ms=60_000)
    partition = port.TopicPartition(topic, 0)
    now_ms = clocks.now_ms(clocks.SystemClock())
    async with bus.assign([partition], group=names("g")) as consumer:
        await numbered(bus, topic, 0, 5, stamp_ms=now_ms - 3_600_000)
        await consumer.settle(offsets={partition: 2})

    async def gone() -> bool:
        return (await bus.offsets(partition)).start == 5

    await waiting.eventually(gone, "five old records are gone", DEADLINE_S)
    await numbered(bus, topic, 5, 2)
    assert await bus.lag(names("g"), [topic]) == {partition: 2}
    async with bus.subscribe(names("g"), [topic]) as consumer:
        assert values(await waiting.collect(consumer, 2)) == [5, 6]
        await consumer.seek(partition, 1)
        assert values(await waiting.collect(consumer, 2)) == [5, 6]


async def test_a_partition_beyond_its_size_loses_its_oldest_records(bus: port.Bus, names: naming.Names) -> None:
    """The end stays, the start moves; about as much as was asked for is kept."""
    topic = await make(bus, names("t"), retention_bytes=2_000_000)
    partition = port.TopicPartition(topic, 0)
    for _ in range(10):
        await bus.publish([port.NewRecord(topic, bytes(50_000)) for _ in range(20)])

    async def trimmed() -> int:
        start, end = await bus.offsets(partition)
        assert end == 200
        return start

    start = await waiting.eventually(trimmed, "old records are gone", DEADLINE_S)
    assert (200 - start) * 50_000 >= 1_500_000
    async with bus.assign([partition]) as consumer:
        first = (await consumer.fetch(wait_s=10))[partition][0]
        assert first.offset >= start


async def compacted(bus: port.Bus, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of partition 0 as they are now, without the keys that only keep the log moving."""
    partition = port.TopicPartition(topic, 0)
    await bus.publish([port.NewRecord(topic, b"tick", key=b"tick")])
    end = (await bus.offsets(partition)).end
    found: list[port.Record] = []
    async with bus.assign([partition]) as consumer:
        while not found or found[-1].offset < end - 1:
            found += (await consumer.fetch(wait_s=5)).get(partition, [])
    assert [record.offset for record in found] == sorted({record.offset for record in found})
    return [(record.key, record.value) for record in found if record.key != b"tick"]


async def test_compaction_keeps_the_newest_record_of_each_key(bus: port.Bus, names: naming.Names) -> None:
    """In order, at its own offset; the older ones go."""
    topic = await make(bus, names("t"), cleanup=port.Cleanup.COMPACT, retention_ms=None)
    await bus.publish([port.NewRecord(topic, b"%d" % i, key=b"k%d" % (i % 3)) for i in range(300)])

    async def clean() -> bool:
        return await compacted(bus, topic) == [(b"k0", b"297"), (b"k1", b"298"), (b"k2", b"299")]

    await waiting.eventually(clean, "one record for each key is left", DEADLINE_S)


async def test_a_tombstone_takes_its_key_away_and_then_goes_itself(bus: port.Bus, names: naming.Names) -> None:
    """A reader sees the tombstone first; in the end nothing of the key is left, and other keys stay."""
    topic = await make(bus, names("t"), cleanup=port.Cleanup.COMPACT, retention_ms=None)
    await bus.publish([port.NewRecord(topic, b"1", key=b"stays"), port.NewRecord(topic, b"1", key=b"goes")])
    await bus.publish([port.NewRecord(topic, None, key=b"goes")])
    assert (b"goes", None) in await compacted(bus, topic)

    async def clean() -> bool:
        return await compacted(bus, topic) == [(b"stays", b"1")]

    await waiting.eventually(clean, "key and tombstone are gone", DEADLINE_S)
