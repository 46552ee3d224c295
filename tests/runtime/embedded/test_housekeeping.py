"""Retention and compaction: what goes, what stays, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.runtime.embedded.processes import DEADLINE_S

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import batches, compaction, retention, settings, store, wire
from sixfold.bus.embedded import catalogue as catalogue_
from sixfold.bus.embedded.client import EmbeddedBus

CLOCK = clocks.SystemClock()
QUICK = settings.Settings(housekeeping_s=0.02, tombstone_ms=0, dirty_age_max_ms=50)
PARTITION = port.TopicPartition("t", 0)


async def starts_at(bus: port.Bus, least: int) -> port.Offsets:
    """The partition's range once it begins at `least` or later."""
    end = CLOCK.monotonic() + DEADLINE_S
    while (found := await bus.offsets(PARTITION)).start < least:
        assert CLOCK.monotonic() < end, f"begins at {found.start}, not {least}"
        await CLOCK.sleep(0.01)
    return found


async def read_all(bus: port.Bus) -> list[port.Record]:
    """All records of the partition, from the start to the last, which is always there."""
    end = (await bus.offsets(PARTITION)).end
    found: list[port.Record] = []
    async with bus.assign([PARTITION]) as consumer:
        while not found or found[-1].offset < end - 1:
            found += (await consumer.fetch(wait_s=5.0))[PARTITION]
    return found


async def test_the_oldest_batches_go_beyond_retention_bytes_and_the_limit_stays(folder: Path) -> None:
    """At least `retention_bytes` are kept, no whole batch more, and offsets go on after everything before is gone."""
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1, retention_ms=None, retention_bytes=50_000)])
        for number in range(100):
            await bus.publish([port.NewRecord("t", b"%d" % number + bytes(2000))])
        assert (await starts_at(bus, 75)).end == 100
        kept = await read_all(bus)
        assert [record.offset for record in kept] == list(range(100 - len(kept), 100))
        assert 50_000 <= sum(len(record.value or b"") + 20 for record in kept) <= 53_000


async def test_offsets_go_on_where_everything_was_dropped_and_the_bus_opened_again(folder: Path) -> None:
    """An empty partition keeps its end: no offset is given twice, and no committed offset lies in the future."""
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1, retention_ms=1000)])
        await bus.publish([port.NewRecord("t", b"old", timestamp_ms=1) for _ in range(5)])
        assert await starts_at(bus, 5) == (5, 5)
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        assert await bus.offsets(PARTITION) == (5, 5)
        assert (await bus.publish([port.NewRecord("t", b"new")]))[0].offset == 5
        assert await bus.lag("g", ["t"]) == {PARTITION: 1}


async def test_a_reader_behind_the_start_goes_on_with_what_is_there(folder: Path) -> None:
    """Records that were dropped while a consumer lagged are skipped, not waited for."""
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1, retention_ms=60_000)])
        await bus.publish([port.NewRecord("t", b"old", timestamp_ms=1) for _ in range(5)])
        await starts_at(bus, 5)
        async with bus.assign([PARTITION], start=port.Start("earliest")) as consumer:
            await consumer.seek(PARTITION, 2)
            await bus.publish([port.NewRecord("t", b"new")])
            (record,) = (await consumer.fetch(wait_s=5.0))[PARTITION]
            assert (record.offset, record.value) == (5, b"new")


async def test_a_deleted_topics_records_leave_the_file(folder: Path) -> None:
    """The batches are swept away afterwards, a step at a time."""
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=2)])
        await asyncio.gather(*(bus.publish([port.NewRecord("t", bytes(100))]) for _ in range(1000)))
        await bus.delete_topic("t")
        await asyncio.sleep(0)
    opened = store.Store(folder, QUICK, CLOCK)
    try:
        catalogue_.Catalogue(opened)
        while opened.execute("SELECT count(*) FROM trash").get:
            with opened.transaction():
                retention.sweep(opened)
        assert opened.execute("SELECT count(*) FROM batches").get == 0
    finally:
        opened.close()


@pytest.mark.parametrize("seed", range(5))
def test_compaction_keeps_the_newest_of_each_key_and_all_offsets(folder: Path, seed: int) -> None:
    """Over random writes with tombstones and several passes: the fold is the same, order and offsets too, and of each
    key at most one record is left."""
    chance = random.Random(seed)
    folder.mkdir()
    opened = store.Store(folder, settings.Settings(batch_bytes_max=2000), CLOCK)
    try:
        catalogue_.Catalogue(opened).create([port.TopicSpec(name="t", partitions=1, cleanup=port.Cleanup.COMPACT)])
        (partition,) = opened.logs
        written: dict[int, tuple[bytes, bytes | None]] = {}
        for _ in range(6):
            for _ in range(chance.randrange(1, 40)):
                records = [
                    (b"k%d" % chance.randrange(15), chance.choice([None, b"v%d" % chance.randrange(10**6)]))
                    for _ in range(chance.randrange(1, 12))
                ]
                base = _append(opened, partition, records)
                written.update(enumerate(records, base))
            fold = {key: (offset, value) for offset, (key, value) in written.items()}
            one = compaction.Compaction(opened, partition, now_ms=10**15, tombstone_ms=0, batch_bytes_max=2000)
            while one.step():
                left = _left(opened, partition)  # after every step a reader finds each key's newest value
                assert {key: value for key, (_, value) in left.items() if value is not None} == {
                    key: value for key, (_, value) in fold.items() if value is not None
                }
            last = max(written)
            stays = {
                offset: (key, value) for key, (offset, value) in fold.items() if value is not None or offset == last
            }
            found = {
                offset: (entry[0], entry[1])
                for batch in opened.read(partition, 0, 10**9)
                for offset, entry in batches.entries(batch.payload, batch.base_offset)
            }
            assert found == dict(sorted(stays.items()))
            assert opened.logs[partition].end == last + 1
    finally:
        opened.close()


def _append(opened: store.Store, partition: int, records: list[tuple[bytes, bytes | None]]) -> int:
    encoded = [batches.encode_record(port.NewRecord("t", value, key=key), 1) for key, value in records]
    with opened.transaction():
        batch = wire.Batch(partition, len(encoded), 1, 100, batches.payload(encoded))
        return opened.append(batch, producer=1, sequence=1)


def _left(opened: store.Store, partition: int) -> dict[bytes | None, tuple[int, bytes | None]]:
    return {
        entry[0]: (offset, entry[1])
        for batch in opened.read(partition, 0, 10**9)
        for offset, entry in batches.entries(batch.payload, batch.base_offset)
    }


async def test_a_group_reads_across_compacted_batches_while_they_are_compacted(folder: Path) -> None:
    """A reader that starts in the middle, and one that follows, see rising offsets and every key's newest value."""
    async with EmbeddedBus(folder, clock=CLOCK, settings=QUICK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1, cleanup=port.Cleanup.COMPACT)])
        seen: list[port.Record] = []

        async def follow() -> None:
            async with bus.subscribe("g", ["t"]) as consumer:
                while not seen or seen[-1].value != b"last":
                    for partition, records in (await consumer.fetch()).items():
                        seen.extend(records)
                        await consumer.settle(offsets={partition: records[-1].offset + 1})

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for number in range(300):
                await bus.publish([port.NewRecord("t", b"%d" % number, key=b"k%d" % (number % 7))])
            await bus.publish([port.NewRecord("t", b"last", key=b"end")])
        offsets = [record.offset for record in seen]
        assert offsets == sorted(set(offsets))
        fold = {record.key: record.value for record in seen}
        assert fold == {b"k%d" % (number % 7): b"%d" % number for number in range(293, 300)} | {b"end": b"last"}
        end = CLOCK.monotonic() + DEADLINE_S
        while len(left := await read_all(bus)) > 8:
            assert CLOCK.monotonic() < end, f"{len(left)} records are left"
            await CLOCK.sleep(0.02)
        assert {record.key: record.value for record in left} == fold
        assert await bus.offset_at(PARTITION, left[0].timestamp_ms) == left[0].offset
        assert await bus.lag("g", ["t"]) == {PARTITION: 0}
