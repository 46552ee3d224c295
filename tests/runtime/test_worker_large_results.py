"""Large outputs and rows: settled in calls that a bus takes, bounded in memory, parked where one record has too much."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from tests.support.waiting import eventually

from sixfold import Context, Event, function, running
from sixfold.bus import Bus, BusUnavailableError, Consumer, NewRecord, State, TopicPartition, TopicSpec, port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.testing import LIMITS, Harness
from sixfold.worker.limits import Limits

LARGE = "x" * 900_000


class Order(Event, topic="large.orders", key="number"):
    number: int


class Copy(Event, topic="large.copies", key="number"):
    number: int
    text: str


ONE = TopicSpec(name="large.orders", partitions=1)


class Settle:
    """One call that was taken."""

    def __init__(self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int]) -> None:
        self.sources = [int(record.key or b"-1") for record in records]
        self.bytes = sum(len(record.value or b"") for record in records)
        self.offsets = dict(offsets)


class WatchedConsumer:
    """A real consumer that notes what it settled, and is away while `here` is not set."""

    def __init__(self, consumer: Consumer, settles: list[Settle], here: asyncio.Event) -> None:
        self._consumer = consumer
        self._settles = settles
        self._here = here

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> WatchedConsumer:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._consumer.__aexit__(*details)

    async def settle(
        self,
        *,
        records: Sequence[NewRecord] = (),
        state: State | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        notes: Mapping[TopicPartition, str] | None = None,
        atomic: bool = False,
    ) -> None:
        if not self._here.is_set():
            raise BusUnavailableError("away")
        await self._consumer.settle(records=records, state=state, offsets=offsets, notes=notes, atomic=atomic)
        self._settles.append(Settle(records, offsets or {}))


class WatchedBus:
    """A real bus whose group consumers are watched."""

    def __init__(self, harness: Harness) -> None:
        self._bus = harness.bus
        self.here = asyncio.Event()
        self.settles: list[Settle] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def subscribe(self, *arguments: Any, **options: Any) -> WatchedConsumer:
        return WatchedConsumer(self._bus.subscribe(*arguments, **options), self.settles, self.here)


@contextlib.asynccontextmanager
async def watched(harness: Harness, each: AnyFunction, bus: WatchedBus, limits: Limits) -> AsyncIterator[running.Run]:
    """`each` over the watched bus, without the harness's own worker."""
    await running.create_topics(harness.bus, [each])
    process = Process(
        name="watched", data_dir=harness.data_dir, registry=harness.process.registry, bus=cast("Bus", bus)
    )
    run = running.Run(each, process, limits=dataclasses.replace(limits, bus_backoff_s=0.001, bus_backoff_max_s=0.01))
    task = asyncio.create_task(run.run(process.stopping))
    try:
        yield run
    finally:
        process.stopping.set()
        await task


async def until_committed(harness: Harness, group: str, count: int) -> None:
    """Return once `count` records are committed."""

    async def committed() -> bool:
        return sum((await harness.bus.committed(group)).values()) == count

    await eventually(committed, f"{count} records of {group} are committed")


async def test_more_results_than_one_call_takes_are_settled_in_several_and_memory_stays_bounded() -> None:
    """110 outputs of 900 kB wait for a bus that is away: handlers wait at the limit, then all are stored, each once."""
    handled = 0

    @function(on=Order, emits=[Copy], name="copying-large")
    async def copy(order: Order, ctx: Context) -> None:
        nonlocal handled
        handled += 1
        unsettled = handled - sum(len(settle.sources) for settle in bus.settles)
        # A round that is on its way counts until it is stored; the record that reached the limit was still handled.
        assert (unsettled - 1) * len(LARGE) <= LIMITS.unsettled_bytes_max
        ctx.emit(Copy(number=order.number, text=LARGE))

    async with Harness(events=[Order, Copy], topics=[ONE]) as harness:
        bus = WatchedBus(harness)
        await harness.publish(*(Order(number=n) for n in range(110)))
        async with watched(harness, copy, bus, LIMITS) as run:
            await eventually(lambda: (handled + 1) * len(LARGE) > LIMITS.unsettled_bytes_max, "handlers fill the limit")
            bus.here.set()
            await until_committed(harness, "copying-large", 110)
        assert sorted(each.number for each in await harness.emitted(Copy)) == list(range(110))
        assert (run.counters.restarts, run.counters.dead_letters) == (0, 0)
    assert max(settle.bytes for settle in bus.settles) <= LIMITS.settle_bytes_max


async def test_no_call_commits_past_a_record_whose_outputs_no_call_has_stored_yet() -> None:
    """Records end in any order and their results go in many calls; a crash between two of them loses nothing."""
    rng = random.Random(4)
    limits = dataclasses.replace(LIMITS, settle_bytes_max=3_000)

    @function(on=Order, emits=[Copy], name="shuffling", ordering="none", concurrency=8)
    async def shuffle(order: Order, ctx: Context) -> None:
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        for _ in range(order.number % 3):
            ctx.emit(Copy(number=order.number, text="x" * rng.randrange(700)))

    async with Harness(events=[Order, Copy], topics=[ONE]) as harness:
        bus = WatchedBus(harness)
        await harness.publish(*(Order(number=n) for n in range(400)))
        async with watched(harness, shuffle, bus, limits):
            bus.here.set()
            await until_committed(harness, "shuffling", 400)
    stored: set[int] = set()
    calls: dict[int, int] = {}
    for index, settle in enumerate(bus.settles):
        for number in settle.sources:
            assert calls.setdefault(number, index) == index, "one record's outputs are stored together"
        stored.update(settle.sources)
        for offset in settle.offsets.values():
            assert not [number for number in range(offset) if number % 3 and number not in stored]
    assert len(bus.settles) > 50


async def test_a_record_with_more_results_than_one_call_takes_is_parked_and_the_others_go_on() -> None:
    """32 MiB of one record are stored as they are; above that the dead letter says what was made and what is taken."""

    @function(on=Order, emits=[Copy], name="exploding")
    async def explode(order: Order, ctx: Context) -> None:
        ctx.emit(*(Copy(number=order.number, text=LARGE) for _ in range({1: 40, 2: 37}.get(order.number, 1))))

    async with Harness(explode, topics=[ONE]) as harness:
        await harness.publish(*(Order(number=n) for n in range(4)))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(explode)
        assert (letter.offset, letter.attempts) == (1, 1)
        assert "40 outputs" in letter.error_message
        assert "at most 33554432" in letter.error_message
        assert [each.number for each in await harness.emitted(Copy)].count(2) == 37
        assert harness.worker(explode).counters.restarts == 0


async def test_a_row_too_large_fails_its_record_alone_at_the_line_that_put_it() -> None:
    """The record is parked at once on any bus, its other rows with it; a row of the largest size is stored."""

    @function(on=Order, name="keeping", tables=["kept"])
    async def keep(order: Order, ctx: Context) -> None:
        ctx.table("kept").put(f"first {order.number}", 1)
        overhead = len("row") + len(b"\xdb\x00\x00\x00\x00")
        ctx.table("kept").put("row", "y" * (port.ROW_BYTES_MAX - overhead + (order.number == 1)))

    async with Harness(keep, topics=[ONE]) as harness:
        await harness.publish(*(Order(number=n) for n in range(3)))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(keep)
        assert (letter.offset, letter.attempts) == (1, 1)
        assert "table 'kept'" in letter.error_message
        assert str(port.ROW_BYTES_MAX) in letter.error_message
        assert '.put("row"' in letter.error_stack
        assert set(await harness.table(keep, "kept")) == {"first 0", "first 2", "row"}
