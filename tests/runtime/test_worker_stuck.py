"""A worker that is stuck starts afresh; one that is slow, waits or has no bus does not. The bus is real."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import eventually

from sixfold import Breaker, Context, Event, Retry, TemporaryError, function, running
from sixfold.bus import BusUnavailableError, Consumer
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.testing import LIMITS, Harness, ManualClock
from sixfold.worker.watchdog import LOOKS

FAST = dataclasses.replace(LIMITS, stuck_s=60.0, drain_s=0.2, fetch_wait_s=0.01, bus_backoff_s=0.001)


class Item(Event, topic="stuck.items", key="number"):
    number: int


class HangingConsumer:
    """A real consumer; while `hangs` says so, a fetch does not come back, and leaving does not either."""

    def __init__(self, consumer: Consumer, hangs: Callable[[], str]) -> None:
        self._consumer = consumer
        self._hangs = hangs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> HangingConsumer:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._consumer.__aexit__(*details)

    async def fetch(self, **options: Any) -> Any:
        if self._hangs() == "fetch":
            await asyncio.get_running_loop().create_future()
        if self._hangs() == "away":
            raise BusUnavailableError("no broker")
        return await self._consumer.fetch(**options)

    async def settle(self, **options: Any) -> None:
        if self._hangs() == "settle":
            await asyncio.get_running_loop().create_future()
        await self._consumer.settle(**options)


class HangingBus:
    """A real bus whose first group consumer hangs in one call, until another one subscribes."""

    def __init__(self, harness: Harness, what: str) -> None:
        self._bus = harness.bus
        self.what = what
        self.consumers = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    @property
    def hanging(self) -> bool:
        """Whether fetches do not come back, or only as the clock moves on."""
        return self.what == "away" or (self.what == "fetch" and self.consumers == 1)

    def subscribe(self, *arguments: Any, **options: Any) -> HangingConsumer:
        self.consumers += 1
        number = self.consumers
        return HangingConsumer(
            self._bus.subscribe(*arguments, **options), lambda: self.what if number == 1 or self.what == "away" else ""
        )


@dataclasses.dataclass
class Seen:
    """A function that runs over a bus that hangs."""

    harness: Harness
    bus: HangingBus
    clock: ManualClock
    run: running.Run
    handled: list[int]

    async def look(self, times: int = 1) -> None:
        """Let the watchdog look so often, each time after the worker had its turn."""
        for _ in range(times):
            await self._turn()
            self.clock.advance(FAST.stuck_s / LOOKS)
        await self._turn()

    async def given_up(self) -> None:
        """Let the watchdog look until the worker was given up, and the next one start."""
        looks = 0
        while not self.run.counters.restarts:
            assert looks < LOOKS * 3, "the watchdog sees nothing wrong"
            await self._turn()
            if not self.run.counters.restarts:
                self.clock.advance(FAST.stuck_s / LOOKS)
            looks += not self.bus.hanging
        self.clock.advance(running.RESTART_S)

    async def _turn(self) -> None:
        assert self.run.worker is not None
        if self.bus.hanging:
            await self.harness.bus.topics()  # a call to the bus and back: whatever was ready before it has run
            return
        worker, restarts = self.run.worker, self.run.counters.restarts
        before = worker.sight().fetches
        await eventually(
            lambda: worker.sight().fetches > before or self.run.counters.restarts > restarts, "a fetch comes back"
        )

    async def done(self, count: int) -> None:
        """Return once `count` items are committed."""

        async def committed() -> bool:
            return sum((await self.harness.bus.committed(self.run.function.name)).values()) == count

        await eventually(committed, f"{count} items are committed")


@contextlib.asynccontextmanager
async def running_on(what: str, each: AnyFunction, handled: list[int]) -> AsyncIterator[Seen]:
    """`each` over a bus that hangs in `what`, with three items."""
    async with Harness(events=[Item]) as harness:
        await running.create_topics(harness.bus, [each])
        await harness.publish(*(Item(number=n) for n in range(3)))
        clock, bus = ManualClock(), HangingBus(harness, what)
        process = Process(
            name="stuck", data_dir=harness.data_dir, registry=harness.process.registry, clock=clock, bus=bus
        )
        run = running.Run(each, process, limits=FAST, bus_clock=clock)
        task = asyncio.create_task(run.run(process.stopping))
        try:
            await eventually(lambda: run.worker is not None and run.worker.activity(), "the worker is there")
            yield Seen(harness, bus, clock, run, handled)
        finally:
            process.stopping.set()
            await task


def noting(handled: list[int], **options: Any) -> AnyFunction:
    """A function that notes what it handles."""

    @function(on=Item, name="stuck", **options)
    async def note(item: Item, ctx: Context) -> None:
        handled.append(item.number)

    return note


@pytest.mark.parametrize("what", ["fetch", "settle"])
async def test_a_worker_whose_bus_call_hangs_is_started_afresh_and_says_once_what_it_saw(what: str) -> None:
    """The next one does all the work; the restart is counted, and one line says why."""
    handled: list[int] = []
    with capture_logs() as logs:
        async with running_on(what, noting(handled), handled) as seen:
            await eventually(lambda: what == "fetch" or len(handled) == 3, "all is handled that can be")

            await seen.given_up()
            await seen.done(3)
            assert seen.bus.consumers == 2
            assert sorted(set(handled)) == [0, 1, 2]
    (line,) = [log for log in logs if log["action"] == "stuck"]
    assert "is stuck" in line["why"]
    assert ("a fetch does not come back" if what == "fetch" else "some to settle") in line["why"]


async def test_a_slow_handler_within_its_time_limit_is_left_alone() -> None:
    """Ten minutes of nothing but one handler that runs, which may take an hour."""
    handled: list[int] = []
    release = asyncio.Event()

    @function(on=Item, name="stuck", timeout_s=3600.0, ordering="none")
    async def slow(item: Item, ctx: Context) -> None:
        await release.wait()
        handled.append(item.number)

    async with running_on("", slow, handled) as seen:
        await eventually(lambda: seen.run.worker and seen.run.worker.activity().busy, "the handler runs")
        await seen.look(LOOKS * 10)
        assert seen.run.counters.restarts == 0
        release.set()
        await seen.done(3)
    assert sorted(handled) == [0, 1, 2]


async def test_a_handler_that_does_not_end_at_its_time_limit_is_no_slow_one() -> None:
    """It swallows what ends it; the next worker handles its record."""
    handled: list[int] = []
    forever = asyncio.Event()
    begun = 0

    @function(on=Item, name="stuck", timeout_s=30.0)
    async def stubborn(item: Item, ctx: Context) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await forever.wait()
            await forever.wait()
        handled.append(item.number)

    async with running_on("", stubborn, handled) as seen:
        await eventually(lambda: begun, "the handler runs")
        await seen.given_up()
        await seen.done(3)


async def test_records_that_wait_for_their_retry_are_not_stuck() -> None:
    """The time of the next attempt comes by itself."""
    handled: list[int] = []

    @function(on=Item, name="stuck", retry=Retry(attempts_max=3, backoff_s=3000, backoff_max_s=3000))
    async def failing(item: Item, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise TemporaryError("not yet", delay_s=3000)
        handled.append(item.number)

    async with running_on("", failing, handled) as seen:
        await eventually(lambda: seen.run.counters.failures >= 1, "a first attempt failed")
        await seen.look(LOOKS * 3)
        assert seen.run.counters.restarts == 0


async def test_an_open_circuit_breaker_is_not_stuck() -> None:
    """It pauses on purpose."""
    handled: list[int] = []

    @function(on=Item, name="stuck", breaker=Breaker(failures=1, pause_s=5000.0, pause_max_s=5000.0))
    async def failing(item: Item, ctx: Context) -> None:
        raise TemporaryError("down", delay_s=0.0)

    async with running_on("", failing, handled) as seen:
        await eventually(lambda: seen.run.counters.failures >= 1, "the breaker opened")
        await seen.look(LOOKS * 3)
        assert seen.run.counters.restarts == 0


async def test_a_bus_that_is_away_is_no_reason_to_start_afresh() -> None:
    """The worker waits for it anyway."""
    handled: list[int] = []
    async with running_on("away", noting(handled), handled) as seen:
        await seen.look(LOOKS * 3)
        assert seen.run.counters.restarts == 0


async def test_an_idle_worker_is_left_alone() -> None:
    """Nothing to do is nothing wrong."""
    handled: list[int] = []
    async with running_on("", noting(handled), handled) as seen:
        await seen.done(3)
        await seen.look(LOOKS * 5)
        assert seen.run.counters.restarts == 0
