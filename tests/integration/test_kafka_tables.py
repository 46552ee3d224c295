"""Tables on Kafka beyond the contract: late writers, copies that outlive their process, tables larger than memory."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection

import pytest
from structlog.testing import capture_logs
from tests.support import buses, members, naming, waiting
from tests.support.records import make, numbered, of_changelogs, values

from sixfold.bus import port
from sixfold.bus.kafka import reading, restoring

pytestmark = pytest.mark.kafka


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
async def test_a_row_that_leaves_its_owner_late_does_not_overwrite_the_next_owners(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names, *, first: bool
) -> None:
    """A member sleeps between its last check and the broker; the row that it sends after it has lost the partition is
    refused, be it the table's first or not, so nobody ever restores it."""
    topic, group = await make(kafka, names("t")), names("g")
    partition = port.TopicPartition(topic, 0)
    await numbered(kafka, topic, 0, 10)
    async with members.joined(cluster, group, [topic]) as sleeper:
        await sleeper.fetch(10)
        if not first:
            await sleeper.settle({partition: 2}, state=[("table", 0, "k", "early")])
        await sleeper.call("stop_at_next_row")
        settling = asyncio.create_task(sleeper.settle({partition: 4}, state=[("table", 0, "k", "late")]))
        await sleeper.stopped()
        async with kafka.subscribe(group, [topic]) as heir:
            start = 0 if first else 2
            assert values(await waiting.collect(heir, 10 - start)) == list(range(start, 10))
            await heir.settle(state={("table", 0): {b"k": b"new"}}, offsets={partition: 8})
            os.kill(sleeper.pid, signal.SIGCONT)
            with pytest.raises(AssertionError, match="FencedError"):
                await settling
            await sleeper.kill()
            await heir.settle(state={("table", 0): {b"other": b"x"}}, offsets={partition: 9})
    async with kafka.subscribe(group, [topic]) as third:
        await waiting.assigned(third, 1)
        assert await third.state_scan("table", 0) == [(b"k", b"new"), (b"other", b"x")]
        assert values(await waiting.collect(third, 1)) == [9]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_table_larger_than_the_memory_of_its_member_is_restored_and_read(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names
) -> None:
    """200,000 rows, 120 MB, of which the member has a bounded part in memory, less what the system keeps of the file while there is room."""
    topic, other, group = await make(kafka, names("t")), await make(kafka, names("u")), names("g")
    await numbered(kafka, topic, 0, 2)
    async with kafka.subscribe(group, [topic]) as consumer:
        await waiting.collect(consumer, 2)
        row = {("table", 0): {b"000000": b"first"}}
        await consumer.settle(state=row, offsets={port.TopicPartition(topic, 0): 1})
    for first in range(0, ROWS, 10_000):
        numbers = range(first, first + 10_000)
        rows = {b"%06d" % (number * 7919 % ROWS): b"%06d" % number + b"." * 594 for number in numbers}
        await kafka.publish(of_changelogs(group, {("table", 0): rows}, {port.TopicPartition(topic, 0): 1}))
    async with members.joined(cluster, names("h"), [other]) as idle:
        plain_bytes = await idle.call("own_bytes")
    limit = plain_bytes + ROWS * 600 // 2
    async with members.joined(cluster, group, [topic], own_bytes_max=limit) as member:
        keys = [*range(0, ROWS, 997), ROWS - 1]
        found = await member.call("get", table="table", partition=0, keys=[f"{key * 7919 % ROWS:06}" for key in keys])
        assert [int(value[:6]) for value in found] == keys


async def test_a_restore_that_takes_long_says_how_far_it_is(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line every two seconds with the offsets that are left, and one at the end: the partitions stand still meanwhile."""
    topic, group = await make(kafka, names("t")), names("g")
    partition = port.TopicPartition(topic, 0)
    async with kafka.subscribe(group, [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        for first in range(0, 5000, 1000):
            rows = {("table", 0): {b"%d" % number: b"x" for number in range(first, first + 1000)}}
            await consumer.settle(state=rows, offsets={partition: 1})
    monkeypatch.setattr(restoring, "TOLD_AFTER_S", 0.0)
    with capture_logs() as logs:
        elsewhere = buses.open_bus(buses.Place(cluster.url, cluster.data_dir / "elsewhere"))
        async with elsewhere as bus, bus.assign([partition], group=group) as reader:
            assert len(await reader.state_scan("table", 0)) == 5000
    told = [log for log in logs if log["action"] == "tables.restoring"]
    assert len(told) >= 5
    assert [log["offsets_left"] for log in told] == sorted({log["offsets_left"] for log in told}, reverse=True)
    assert [(log["rows"], log["log_level"]) for log in logs if log["action"] == "tables.restored"] == [(5000, "info")]


ROWS = 200_000


async def test_a_partition_of_a_table_that_is_new_is_no_doubt_about_those_that_are_held(
    kafka: port.Bus, names: naming.Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changelog is looked at right after a settle of the others, whose end a busy broker may not show yet."""
    topic, group = await make(kafka, names("t"), 2), names("g")
    zero, one = (port.TopicPartition(topic, number) for number in range(2))
    async with kafka.subscribe(group, [topic]) as consumer:
        await waiting.assigned(consumer, 2)
        for offset in (1, 2):
            row = {("table", 0): {b"k": b"%d" % offset}}
            await consumer.settle(state=row, offsets={zero: offset})
        ranges = reading.OffsetReader.ranges

        async def late(
            self: reading.OffsetReader, partitions: Collection[port.TopicPartition]
        ) -> dict[port.TopicPartition, port.Offsets]:
            found = await ranges(self, partitions)
            return {each: offsets._replace(end=max(0, offsets.end - 2)) for each, offsets in found.items()}

        monkeypatch.setattr(reading.OffsetReader, "ranges", late)
        rows = {("table", number): {b"k": b"3"} for number in range(2)}
        await consumer.settle(state=rows, offsets={zero: 3, one: 1})
        assert [await consumer.state_get("table", number, b"k") for number in range(2)] == [b"3", b"3"]
