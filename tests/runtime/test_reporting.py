"""What a process says of its functions: breakers, batches, and that it is still there."""

from __future__ import annotations

import asyncio

from tests.support.waiting import eventually

from sixfold import Batch, BatchContext, Breaker, Context, Event, TemporaryError, function
from sixfold.running import create_topics, run_functions
from sixfold.telemetry import reporting
from sixfold.telemetry.counters import BATCH_BOUNDS, Counters
from sixfold.testing import Harness, ManualClock
from sixfold_events.system import FunctionReport, ProcessReported


class Ping(Event, topic="reporting.pings", key="number"):
    number: int


@function(on=Ping, name="reporting.failing", breaker=Breaker(failures=2, pause_s=1000.0), timeout_s=12.0)
async def failing(ping: Ping, ctx: Context) -> None:
    """What it needs is down."""
    raise TemporaryError("down", delay_s=0.0)


@function(on=Ping, name="reporting.batched", batch=Batch(size=100, window_s=0.01), ordering="none")
async def batched(pings: list[Ping], ctx: BatchContext) -> None:
    """Takes many at a time."""


async def test_breakers_and_batch_sizes_are_reported() -> None:
    """With what a reader of the report must know of the function: its topics, its start, its time limit."""
    async with Harness(events=[Ping, ProcessReported]) as harness:
        clock = harness.clock
        assert isinstance(clock, ManualClock)
        await create_topics(harness.bus, [failing, batched])
        await harness.publish(*(Ping(number=n) for n in range(50)))
        stopping = harness.process.stopping
        task = asyncio.create_task(run_functions(harness.process, [failing, batched], stopping=stopping))

        async def told() -> dict[str, FunctionReport] | None:
            clock.advance(reporting.INTERVAL_S)
            reports = await harness.emitted(ProcessReported)
            found = {each.function: each for each in reports[-1].functions} if reports else {}
            done = found and found["reporting.batched"].records == 50 and found["reporting.failing"].breaker == "open"
            return found if done else None

        found = await eventually(told, "the report has it all")
        stopping.set()
        await task
        assert found is not None
        first, second = found["reporting.failing"], found["reporting.batched"]
        assert first.breaker_openings >= 1
        assert (first.topics, first.start, first.timeout_s) == (["reporting.pings"], "earliest", 12.0)
        assert (second.breaker, second.batch_records) == ("", 50)
        assert sum(second.batch_counts) == second.attempts
        assert len(second.batch_counts) == len(BATCH_BOUNDS) + 1


async def test_a_process_whose_counters_stand_still_reports_now_and_then_that_it_is_there() -> None:
    """Whoever is silent is gone; but an idle process does not report every few seconds."""
    async with Harness(events=[ProcessReported]) as harness:
        clock = harness.clock
        assert isinstance(clock, ManualClock)
        reporter = reporting.Reporter(harness.process, [Counters("f")])
        for _ in range(int(reporting.HEARTBEAT_S / reporting.INTERVAL_S) * 3):
            await reporter.report()
            clock.advance(reporting.INTERVAL_S)
        assert len(await harness.emitted(ProcessReported)) == 3
