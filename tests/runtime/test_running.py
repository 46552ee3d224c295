"""Running functions as a process: topics are made, counters reported, bad code stops alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.waiting import eventually

from sixfold import Context, Event, PermanentError, function
from sixfold.bus import Cleanup, TopicSpec
from sixfold.context import UndeclaredEmitError
from sixfold.function import AnyFunction
from sixfold.running import create_topics, run_functions
from sixfold.telemetry import metrics, reporting
from sixfold.testing import Harness, ManualClock
from sixfold_events.system import ProcessReported


class Ping(Event, topic="running.pings", key="number"):
    number: int


class Pong(Event, topic="running.pongs", key="number"):
    number: int


@function(on=Ping, emits=[Pong], name="running.pong")
async def pong(ping: Ping, ctx: Context) -> None:
    """Answer, but for multiples of ten."""
    if ping.number % 10 == 0:
        raise PermanentError("never")
    ctx.emit(Pong(number=ping.number))


@function(on=Ping, name="running.bad")
async def bad(ping: Ping, ctx: Context) -> None:
    """Emit what is not declared."""
    ctx.emit(Pong(number=ping.number))


@contextlib.asynccontextmanager
async def run(harness: Harness, *functions: AnyFunction) -> AsyncIterator[asyncio.Task[None]]:
    """`run_functions` in the background, stopped and awaited at the end."""
    task = asyncio.create_task(run_functions(harness.process, functions, stopping=harness.process.stopping))
    try:
        yield task
    finally:
        harness.process.stopping.set()
        await asyncio.wait([task])


async def last_report(harness: Harness) -> ProcessReported | None:
    """The newest report."""
    if reporting.TOPIC.name not in await harness.bus.topics():
        return None
    reports = await harness.emitted(ProcessReported)
    return reports[-1] if reports else None


async def idle(harness: Harness, each: AnyFunction) -> None:
    """Wait until `each` has committed all."""

    async def done() -> bool:
        lag = await harness.bus.lag(each.name, each.topics)
        return bool(lag) and not any(lag.values())

    await eventually(done, f"{each.name} is done with all")


async def test_it_is_ready_when_what_its_functions_read_and_write_exists() -> None:
    """Whoever waited for it publishes at once."""
    async with Harness(events=[Ping, Pong, ProcessReported]) as harness:
        ready = asyncio.Event()
        work = run_functions(harness.process, [pong], stopping=harness.process.stopping, ready=ready.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(work)
            await ready.wait()
            assert {*pong.topics, Pong.__event__.topic, pong.dead_letter_topic} <= (await harness.bus.topics()).keys()
            harness.process.stopping.set()


async def test_counters_of_a_process_are_reported_when_they_changed_and_at_its_end() -> None:
    """The newest report has all counts; the last one says that the process stopped; the metrics page shows them."""
    async with Harness(events=[Ping, Pong, ProcessReported]) as harness:
        assert isinstance(harness.clock, ManualClock)
        async with run(harness, pong) as task:
            await eventually(lambda: reported(harness, 0), "the process reports that it is there")
            await harness.publish(*(Ping(number=n) for n in range(100)))
            await idle(harness, pong)
            harness.clock.advance(reporting.INTERVAL_S)
            await eventually(lambda: reported(harness, 100), "the process reports what it did")
        assert task.exception() is None
        report = await last_report(harness)
        assert report is not None
        (counts,) = report.functions
        assert (report.process, report.stopped, counts.function) == ("harness", True, "running.pong")
        assert (counts.records, counts.attempts, counts.failures, counts.dead_letters, counts.emitted) == (
            100,
            100,
            10,
            10,
            90,
        )
        assert sum(counts.duration_counts) == 100
        assert (counts.running, counts.retrying, counts.halted) == (0, 0, "")
        page = metrics.render(metrics.of_reports([msgspec.structs.replace(report, stopped=False)]))
        assert 'sixfold_function_records_total{function="running.pong",process="harness"} 100' in page
        assert 'sixfold_function_duration_seconds_count{function="running.pong",process="harness"} 100' in page


async def reported(harness: Harness, records: int) -> bool:
    """Whether the newest report counts `records` of one function."""
    report = await last_report(harness)
    return report is not None and report.functions[0].records == records


async def test_a_function_with_bad_code_stops_and_the_others_go_on() -> None:
    """Its records stay uncommitted; the process ends with its error once it is stopped."""
    async with Harness(events=[Ping, Pong, ProcessReported]) as harness:
        await create_topics(harness.bus, [pong, bad])
        await harness.publish(*(Ping(number=n) for n in range(1, 10)))
        async with run(harness, pong, bad) as task:
            await idle(harness, pong)

            async def halted() -> bool:
                harness.clock.advance(reporting.INTERVAL_S)  # type: ignore[attr-defined]
                report = await last_report(harness)
                return report is not None and any("add it to emits=" in each.halted for each in report.functions)

            await eventually(halted, "the halt is reported")
            assert not task.done()
        assert isinstance(task.exception(), UndeclaredEmitError)
        assert sum((await harness.bus.committed("running.bad")).values()) == 0


async def test_a_process_whose_only_function_stopped_ends_with_its_error() -> None:
    """Nobody waits for a process that does nothing any more."""
    async with Harness(events=[Ping, Pong, ProcessReported]) as harness:
        await create_topics(harness.bus, [bad])
        await harness.publish(Ping(number=1))
        with pytest.raises(UndeclaredEmitError):
            await asyncio.wait_for(run_functions(harness.process, [bad], stopping=harness.process.stopping), timeout=20)


async def test_topics_are_created_as_declared_and_existing_ones_left_as_they_are() -> None:
    """The dead-letter topic is kept for ever and takes what the source takes."""
    async with Harness(events=[Ping]) as harness:
        await harness.bus.delete_topic("running.pings")
        await harness.bus.create_topics([TopicSpec(name="running.pings", partitions=2, record_bytes_max=2_000_000)])
        declared = [TopicSpec(name="running.pongs", partitions=4, cleanup=Cleanup.COMPACT)]
        for _ in range(2):
            await create_topics(harness.bus, [pong], declared)
        topics = await harness.bus.topics()
        assert topics["running.pings"].partitions == 2
        assert (topics["running.pongs"].partitions, topics["running.pongs"].cleanup) == (4, Cleanup.COMPACT)
        assert topics["running.pong.dlq"].partitions == 1
        assert topics["running.pong.dlq"].retention_ms is None
        assert topics["running.pong.dlq"].record_bytes_max > 2_000_000
        assert topics["system.processes"].cleanup is Cleanup.COMPACT
