"""What the embedded bus promises beyond the port's contract: it is quick when idle, fair, and limits what it takes."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.runtime.embedded.processes import Processes, until

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import batches, link, wire
from sixfold.bus.embedded import settings as settings_
from sixfold.bus.embedded.client import EmbeddedBus

CLOCK = clocks.SystemClock()


@pytest.fixture
async def bus(folder: Path) -> AsyncIterator[EmbeddedBus]:
    """An open bus that owns its log."""
    async with EmbeddedBus(folder, clock=CLOCK) as opened:
        yield opened


async def test_an_idle_bus_with_consumers_costs_next_to_nothing(bus: EmbeddedBus) -> None:
    """Twenty consumers that wait for two seconds take less than 5 % of a processor: nothing polls."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=20)])
    partitions = [port.TopicPartition("t", number) for number in range(20)]
    consumers = [await bus.assign([partition]).__aenter__() for partition in partitions]
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert await asyncio.gather(*(consumer.fetch(wait_s=2.0) for consumer in consumers)) == [{}] * 20
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.1
    for consumer in consumers:
        await consumer.__aexit__(None, None, None)


async def test_a_busy_loop_in_the_owners_process_does_not_hold_up_others(
    bus: EmbeddedBus, processes: Processes
) -> None:
    """While a handler keeps the owner process's event loop busy, other processes publish and are acknowledged."""
    await processes.start("publish")
    await until(lambda: len(processes.all_notes("acknowledged")) > 10, "the publisher publishes")
    assert bus.owner
    before = len(processes.all_notes("acknowledged"))
    end = CLOCK.monotonic() + 0.5
    while CLOCK.monotonic() < end:  # a handler that computes, and never gives way
        sum(range(1000))
    during = len(processes.all_notes("acknowledged")) - before
    assert during > 20, f"{during} calls were acknowledged during half a second"
    await processes.stop("publish")


async def test_a_record_that_no_reader_could_decode_is_refused(bus: EmbeddedBus) -> None:
    """Text where bytes belong: a UsageError at the publisher, instead of a reader that cannot go on."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
    for bad in (
        port.NewRecord("t", "text"),  # type: ignore[arg-type]
        port.NewRecord("t", b"", key=7),  # type: ignore[arg-type]
        port.NewRecord("t", b"", headers=[("name", "text")]),  # type: ignore[list-item]
        port.NewRecord("t", b"", headers=["name"]),  # type: ignore[list-item]
        port.NewRecord("t", b"", timestamp_ms=1.5),  # type: ignore[arg-type]
    ):
        with pytest.raises(errors.UsageError, match="topic 't'"):
            await bus.publish([port.NewRecord("t", b"good"), bad])
    assert (await bus.offsets(port.TopicPartition("t", 0))).end == 0


async def test_one_call_is_limited_and_says_so(folder: Path) -> None:
    """A publish call larger than a frame is refused before anything is sent; the bus goes on."""
    settings = settings_.Settings(frame_bytes_max=1_000_000)
    async with EmbeddedBus(folder, clock=CLOCK, settings=settings) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        with pytest.raises(port.BusError, match="split it"):
            await bus.publish([port.NewRecord("t", bytes(300_000)) for _ in range(4)])
        assert (await bus.publish([port.NewRecord("t", b"small")]))[0].offset == 0


async def test_a_topic_deleted_and_made_again_by_another_is_published_to_as_it_is_now(
    bus: EmbeddedBus, folder: Path
) -> None:
    """A client that knows the old topic's partitions publishes to, and reads from, the new one's."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
    await bus.publish([port.NewRecord("t", b"old")])
    async with EmbeddedBus(folder, clock=CLOCK) as other:
        await other.delete_topic("t")
        await other.create_topics([port.TopicSpec(name="t", partitions=3)])
        (position,) = await bus.publish([port.NewRecord("t", b"new", partition=2)])
        assert position == port.Position("t", 2, 0)
        assert await bus.offsets(port.TopicPartition("t", 2)) == (0, 1)
        await other.delete_topic("t")
        with pytest.raises(port.UnknownTopicError):
            await bus.publish([port.NewRecord("t", b"gone")])


async def test_a_reader_of_a_deleted_topic_is_told(bus: EmbeddedBus) -> None:
    """A pinned consumer that waits on a topic that is deleted gets UnknownTopicError instead of waiting for ever."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
    async with bus.assign([port.TopicPartition("t", 0)]) as consumer:
        assert await consumer.fetch(wait_s=0) == {}
        await bus.delete_topic("t")
        with pytest.raises(port.UnknownTopicError):
            await consumer.fetch(wait_s=5.0)


class Told:
    """A listener that writes down what it is told; `slow` holds on_revoked up."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.slow: asyncio.Event | None = None

    async def on_assigned(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append(("assigned", len(partitions)))

    async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append(("revoked", len(partitions)))
        if self.slow is not None:
            await self.slow.wait()

    async def on_lost(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.calls.append(("lost", len(partitions)))


async def test_a_deleted_topics_partitions_are_lost_to_the_group(bus: EmbeddedBus) -> None:
    """Members are told, and get the partitions of the topic when it is made again."""
    told = Told()
    await bus.create_topics([port.TopicSpec(name="t", partitions=2)])
    async with bus.subscribe("g", ["t"], listener=told) as consumer:
        await until(lambda: told.calls == [("assigned", 2)], "assigned")
        await bus.delete_topic("t")
        await until(lambda: told.calls[1:] == [("lost", 2)], "lost")
        assert consumer.assignment() == frozenset()
        await bus.create_topics([port.TopicSpec(name="t", partitions=3)])
        await until(lambda: told.calls[2:] == [("assigned", 3)], "assigned again")
        await bus.publish([port.NewRecord("t", b"new", partition=1)])
        fetched = await consumer.fetch(wait_s=5.0)
        assert [record.value for records in fetched.values() for record in records] == [b"new"]


async def test_a_static_member_that_comes_back_replaces_itself(bus: EmbeddedBus, folder: Path) -> None:
    """The same member name on a second connection takes over at once; the first one has lost its partitions."""
    first, second = Told(), Told()
    await bus.create_topics([port.TopicSpec(name="t", partitions=2)])
    async with (
        EmbeddedBus(folder, clock=CLOCK) as other,
        bus.subscribe("g", ["t"], listener=first, member="worker-1") as old,
    ):
        await until(lambda: first.calls == [("assigned", 2)], "the first has them")
        async with other.subscribe("g", ["t"], listener=second, member="worker-1") as new:
            await until(lambda: second.calls == [("assigned", 2)], "the second has them")
            await until(lambda: first.calls[1:] == [("lost", 2)], "the first lost them")
            with pytest.raises(port.FencedError):
                await old.settle(offsets={port.TopicPartition("t", 0): 0})
            await new.settle(offsets={port.TopicPartition("t", 0): 0})


async def test_a_failing_listener_is_seen_by_the_next_fetch_and_holds_up_nobody(bus: EmbeddedBus) -> None:
    """An error in on_revoked comes out of fetch; the partition goes to the other member all the same."""

    class Failing(Told):
        async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
            raise ValueError("the listener is broken")

    await bus.create_topics([port.TopicSpec(name="t", partitions=2)])
    told = Told()
    async with bus.subscribe("g", ["t"], listener=Failing()) as one:
        await until(lambda: len(one.assignment()) == 2, "one has both")
        async with bus.subscribe("g", ["t"], listener=told) as two:
            await until(lambda: len(two.assignment()) == 1, "two has one")
            with pytest.raises(ValueError, match="broken"):
                await one.fetch(wait_s=1.0)
            assert await one.fetch(wait_s=0.01) == {}


async def test_a_partition_that_comes_back_is_read_at_once(bus: EmbeddedBus) -> None:
    """It went to another member and returned: what was read and not committed is there again, without a new record."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=2)])
    partitions = {port.TopicPartition("t", 0), port.TopicPartition("t", 1)}
    async with bus.subscribe("g", ["t"]) as one:
        await until(lambda: one.assignment() == partitions, "one has both")
        await bus.publish([port.NewRecord("t", b"%d" % number, partition=number) for number in (0, 1)])
        assert len(await one.fetch(wait_s=10.0)) == 2
        assert await one.fetch(wait_s=0.01) == {}
        async with bus.subscribe("g", ["t"]) as two:
            await until(lambda: len(two.assignment()) == 1, "two has one")
            (moved,) = two.assignment()
            assert await one.fetch(wait_s=0.01) == {}
        fetched = await one.fetch(wait_s=10.0)
        assert [record.value for record in fetched[moved]] == [b"%d" % moved.partition]


async def test_the_owner_fences_a_member_that_does_not_know_yet(bus: EmbeddedBus, folder: Path) -> None:
    """A write for a partition that the member does not own stores nothing, whatever the member believes."""
    await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
    (partition,) = (await bus.topic("t")).partitions
    client = link.Link(folder, settings_.Settings(), CLOCK)
    await client.open()
    encoded = [batches.encode_record(port.NewRecord("t", b"zombie"), 1)]
    batch = wire.Batch(partition, 1, 1, len(encoded[0]), batches.payload(encoded))
    async with bus.subscribe("g", ["t"]) as owner:
        await until(lambda: len(owner.assignment()) == 1, "the owner has it")
        with pytest.raises(port.FencedError, match="Nothing was stored"):
            await client.write([batch], consumer=1, group="g", offsets=[(partition, 7)])
    assert (await bus.committed("g"), await bus.offsets(port.TopicPartition("t", 0))) == ({}, (0, 0))
    await client.close()
