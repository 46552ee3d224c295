"""The bus fails under a worker: waits, fences and crashes lose nothing. The bus is real, the failures are injected."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import eventually

from sixfold import Context, Event, function, running
from sixfold.bus import (
    BusUnavailableError,
    Consumer,
    FencedError,
    NewRecord,
    State,
    StorageFullError,
    TopicPartition,
    UnknownTopicError,
)
from sixfold.process import Process
from sixfold.testing import LIMITS, Harness, ManualClock

LIMITS_FAST = dataclasses.replace(LIMITS, bus_backoff_s=0.001)


class Item(Event, topic="faults.items", key="number"):
    number: int


class Copied(Event, topic="faults.copied", key="number"):
    number: int


class FaultyConsumer:
    """A real consumer whose next settles and fetches raise what is lined up."""

    def __init__(self, consumer: Consumer, settles: list[Exception], fetches: list[Exception]) -> None:
        self._consumer = consumer
        self._settles = settles
        self._fetches = fetches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> FaultyConsumer:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._consumer.__aexit__(*details)

    async def fetch(self, **options: Any) -> Any:
        if self._fetches:
            raise self._fetches.pop(0)
        return await self._consumer.fetch(**options)

    async def settle(
        self,
        *,
        records: Sequence[NewRecord] = (),
        state: State | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        notes: Mapping[TopicPartition, str] | None = None,
        atomic: bool = False,
    ) -> None:
        if self._settles:
            raise self._settles.pop(0)
        await self._consumer.settle(records=records, state=state, offsets=offsets, notes=notes, atomic=atomic)


class FaultyBus:
    """A real bus whose group consumers are faulty."""

    def __init__(self, harness: Harness, settles: list[Exception], fetches: list[Exception]) -> None:
        self._bus = harness.bus
        self.settles = settles
        self.fetches = fetches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def subscribe(self, *arguments: Any, **options: Any) -> FaultyConsumer:
        return FaultyConsumer(self._bus.subscribe(*arguments, **options), self.settles, self.fetches)


class Copying:
    """What a run over the faulty bus shows."""

    def __init__(self, harness: Harness, run: running.Run, handled: collections.Counter[int]) -> None:
        self.harness = harness
        self.run = run
        self.handled = handled

    async def until_copied(self, count: int) -> list[int]:
        """The numbers copied, once all `count` items are committed."""

        async def committed() -> bool:
            return sum((await self.harness.bus.committed("copying")).values()) == count

        await eventually(committed, f"{count} items are committed")
        return sorted(each.number for each in await self.harness.emitted(Copied))


@contextlib.asynccontextmanager
async def copying(
    settles: Sequence[Exception] = (), fetches: Sequence[Exception] = (), clock: ManualClock | None = None
) -> AsyncIterator[Copying]:
    """A function that copies items, over a bus that fails so."""
    handled: collections.Counter[int] = collections.Counter()

    @function(on=Item, emits=[Copied], name="copying", tables=["count"])
    async def copy(item: Item, ctx: Context) -> None:
        table = ctx.table("count")
        table.put("n", await table.get("n", 0) + 1)
        handled[item.number] += 1
        ctx.emit(Copied(number=item.number))

    async with Harness(events=[Item, Copied]) as harness:
        await running.create_topics(harness.bus, [copy])
        await harness.publish(*(Item(number=n) for n in range(100)))
        process = Process(
            name="faulty",
            data_dir=harness.data_dir,
            registry=harness.process.registry,
            clock=clock or ManualClock(),
            bus=FaultyBus(harness, list(settles), list(fetches)),
        )
        run = running.Run(copy, process, limits=LIMITS_FAST)
        task = asyncio.create_task(run.run(process.stopping))
        try:
            yield Copying(harness, run, handled)
            rows = await harness.table(copy, "count")
            assert rows["n"] > 0
        finally:
            process.stopping.set()
            await task


@pytest.mark.parametrize("error", [BusUnavailableError("no broker"), StorageFullError("disk full")])
async def test_settling_waits_for_a_bus_that_is_away_or_full_and_says_so_once(error: Exception) -> None:
    """Nothing is handled again, nothing is settled twice; one line when it begins, one when it ends."""
    with capture_logs() as logs:
        async with copying(settles=[error] * 5) as seen:
            assert await seen.until_copied(100) == list(range(100))
    assert set(seen.handled.values()) == {1}
    assert [log["action"] for log in logs if log["action"].startswith("settle")] == ["settle.waiting", "settle.resumed"]


async def test_fetching_waits_for_a_bus_that_is_away_and_says_so_once() -> None:
    """The worker is no crash's worth of a reconnect."""
    with capture_logs() as logs:
        async with copying(fetches=[BusUnavailableError("no broker")] * 5) as seen:
            assert await seen.until_copied(100) == list(range(100))
    assert seen.run.counters.restarts == 0
    assert [log["action"] for log in logs if log["action"].startswith("fetch")] == ["fetch.waiting", "fetch.resumed"]


async def test_being_fenced_is_no_crash() -> None:
    """A refusal for partitions that are still ours is tried again; the counter shows it."""
    async with copying(settles=[FencedError("rebalance")] * 3) as seen:
        assert await seen.until_copied(100) == list(range(100))
    assert (seen.run.counters.restarts, seen.run.counters.fenced) == (0, 3)
    assert set(seen.handled.values()) == {1}


async def test_being_fenced_for_ever_starts_the_worker_afresh() -> None:
    """A member that the group has forgotten without telling it joins again."""
    clock = ManualClock()
    async with copying(settles=[FencedError("forgotten")] * (LIMITS.fenced_max + 1), clock=clock) as seen:
        await eventually(lambda: seen.run.counters.restarts == 1, "the worker gives up")
        clock.advance(1)
        assert await seen.until_copied(100) == list(range(100))


async def test_a_worker_that_crashed_starts_again_after_a_wait_and_goes_on_from_what_is_committed() -> None:
    """Records whose results were not stored are handled again; their outputs and rows are stored once."""
    clock = ManualClock()
    async with copying(settles=[UnknownTopicError("gone")] * 2, clock=clock) as seen:
        await eventually(lambda: seen.run.counters.restarts == 1, "the first crash")
        clock.advance(1)
        await eventually(lambda: seen.run.counters.restarts == 2, "the second crash")
        clock.advance(1)
        assert isinstance(seen.run.crash, UnknownTopicError)
        clock.advance(1)
        assert await seen.until_copied(100) == list(range(100))
        assert max(seen.handled.values()) > 1
