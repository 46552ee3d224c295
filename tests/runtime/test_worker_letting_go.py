"""Stopping, rebalancing and being fenced: work under way is finished where there is time, and repeated where not."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from tests.support.waiting import eventually

from sixfold import Context, Event, function, running
from sixfold.bus import Bus, Consumer, TopicSpec
from sixfold.clock import SystemClock
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.testing import LIMITS, Harness
from sixfold.worker.limits import Limits
from sixfold.worker.member import Worker


class Task(Event, topic="letting.tasks", key="number"):
    number: int


class Finished(Event, topic="letting.finished", key="number"):
    number: int


FOUR = TopicSpec(name="letting.tasks", partitions=4)


@contextlib.asynccontextmanager
async def second_worker(harness: Harness, each: AnyFunction, limits: Limits = LIMITS) -> AsyncIterator[Worker]:
    """Another member of the function's group, with a process of its own."""
    process = Process(
        name="second", data_dir=Path(harness.data_dir), registry=harness.process.registry, bus=harness.bus
    )
    worker = Worker(each, process, limits=limits)
    task = asyncio.create_task(worker.run(process.stopping))
    try:
        yield worker
    finally:
        process.stopping.set()
        await task


def shares(*workers: Worker) -> list[int]:
    """How many partitions each worker has."""
    return [len(worker.backlog()) for worker in workers]


async def test_a_stop_finishes_what_runs_and_commits_it() -> None:
    """The handler that runs ends in peace; its output is stored, its offset committed; the next record is not begun."""
    begun, gate = asyncio.Event(), asyncio.Event()
    handled: list[int] = []

    @function(on=Task, emits=[Finished], name="stopped")
    async def stopped(task: Task, ctx: Context) -> None:
        begun.set()
        await gate.wait()
        handled.append(task.number)
        ctx.emit(Finished(number=task.number))

    async with Harness(stopped, topics=[TopicSpec(name="letting.tasks", partitions=1)]) as harness:
        await harness.publish(*(Task(number=n) for n in range(10)))
        await begun.wait()
        stop = asyncio.create_task(harness.stop())
        await asyncio.sleep(0)
        gate.set()
        await stop
        assert handled == [0]
        assert sum((await harness.bus.committed("stopped")).values()) == 1
        assert await harness.emitted(Finished) == [Finished(number=0)]
        harness.start()
        await harness.until_idle()
        assert handled == list(range(10))


async def test_a_stop_abandons_a_handler_that_does_not_end_and_its_record_comes_again() -> None:
    """Past the deadline the handler is cancelled; the record counts as never tried."""
    begun = asyncio.Event()
    attempts: list[int] = []

    @function(on=Task, name="endless")
    async def endless(task: Task, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        begun.set()
        if len(attempts) == 1:
            await asyncio.Event().wait()

    limits = dataclasses.replace(LIMITS, drain_s=0.05)
    async with Harness(endless, limits=limits) as harness:
        await harness.publish(Task(number=1))
        await begun.wait()
        await harness.stop()
        assert sum((await harness.bus.committed("endless")).values()) == 0
        harness.start()
        await harness.until_idle()
        assert await harness.dead_letters(endless) == []
    assert attempts == [1, 1]


class HungConsumer:
    """A real consumer whose settles never end."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> HungConsumer:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._consumer.__aexit__(*details)

    async def settle(self, **options: Any) -> None:
        await asyncio.Event().wait()


class HungBus:
    """A real bus on which nothing can be settled."""

    def __init__(self, harness: Harness) -> None:
        self._bus = harness.bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def subscribe(self, *arguments: Any, **options: Any) -> HungConsumer:
        return HungConsumer(self._bus.subscribe(*arguments, **options))


async def test_a_stop_takes_no_longer_than_the_limits_say_whatever_hangs() -> None:
    """A handler that will not end and a bus that does not answer use up every deadline; their sum is `stop_s`."""
    stuck = asyncio.Event()

    @function(on=Task, name="hung")
    async def hung(task: Task, ctx: Context) -> None:
        if task.number == 1:
            stuck.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    limits = dataclasses.replace(LIMITS, drain_s=0.5)
    async with Harness(events=[Task], topics=[TopicSpec(name="letting.tasks", partitions=1)]) as harness:
        await running.create_topics(harness.bus, [hung])
        await harness.publish(*(Task(number=n) for n in range(2)))
        registry, bus = harness.process.registry, cast("Bus", HungBus(harness))
        process = Process(name="hung", data_dir=harness.data_dir, registry=registry, bus=bus)
        working = asyncio.create_task(Worker(hung, process, limits=limits).run(process.stopping))
        await stuck.wait()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        process.stopping.set()
        await working
        assert limits.stop_s - 0.1 <= loop.time() - begun <= limits.stop_s + 0.5


async def test_a_rebalance_while_a_handler_runs_handles_its_record_once() -> None:
    """The partition moves after the handler has finished and its offset is committed."""
    handled: collections.Counter[int] = collections.Counter()
    begun, gate = asyncio.Event(), asyncio.Event()

    @function(on=Task, name="moving", ordering="key", concurrency=16)
    async def moving(task: Task, ctx: Context) -> None:
        begun.set()
        await gate.wait()
        handled[task.number] += 1

    async with Harness(moving, topics=[FOUR]) as harness:
        await harness.publish(*(Task(number=n) for n in range(200)))
        await begun.wait()
        async with second_worker(harness, moving) as second:
            gate.set()
            await eventually(lambda: shares(harness.worker(moving), second) == [2, 2], "the partitions are shared")
            await harness.until_idle()
        assert await harness.dead_letters(moving) == []
    assert handled == dict.fromkeys(range(200), 1)


async def test_partitions_come_and_go_under_load_and_every_record_is_handled() -> None:
    """Members join and leave while records flow: nothing is lost, and each output is stored exactly once."""

    @function(on=Task, emits=[Finished], name="flowing", tables=["sum"])
    async def flowing(task: Task, ctx: Context) -> None:
        table, mine = ctx.table("sum"), f"partition {ctx.record.partition}"
        table.put(mine, await table.get(mine, 0) + task.number)
        ctx.emit(Finished(number=task.number))
        await asyncio.sleep(0)

    async with Harness(flowing, topics=[FOUR], clock=SystemClock()) as harness:
        count = 0
        for round_number in range(6):
            await harness.publish(*(Task(number=n) for n in range(count, count + 500)))
            count += 500
            if round_number % 2:
                async with second_worker(harness, flowing) as second:
                    await eventually(lambda: len(second.backlog()) == 2, "the second member has its share")
        await harness.until_idle()
        done = await harness.emitted(Finished)
        assert sorted(each.number for each in done) == list(range(count))
        assert total(await harness.table(flowing, "sum")) == sum(range(count))


async def test_a_member_that_does_not_let_go_in_time_is_fenced_and_goes_on() -> None:
    """Its partition is another's by then: what it still settles is dropped, it is no crash, and nothing is lost."""
    stuck, gate = asyncio.Event(), asyncio.Event()
    handled: collections.Counter[int] = collections.Counter()
    first = True

    @function(on=Task, emits=[Finished], name="late", ordering="key", concurrency=16)
    async def late(task: Task, ctx: Context) -> None:
        nonlocal first
        if first:
            first = False
            stuck.set()
            while not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()
        handled[task.number] += 1
        ctx.emit(Finished(number=task.number))

    limits = dataclasses.replace(LIMITS, revoke_s=0.3)
    async with Harness(late, topics=[FOUR], limits=limits) as harness:
        await harness.publish(*(Task(number=n) for n in range(100)))
        await stuck.wait()
        async with second_worker(harness, late, limits) as second:
            await eventually(lambda: len(second.backlog()) == 2, "the second member has its share")
            gate.set()
            await harness.until_idle()
            await eventually(lambda: shares(harness.worker(late), second) == [2, 2], "both go on")
        assert harness.worker(late).counters.restarts == 0
        assert sorted(each.number for each in await harness.emitted(Finished)) == list(range(100))
    assert set(handled) == set(range(100))


def total(table: dict[str, object]) -> int:
    """The sum of a table's rows."""
    return sum(value for value in table.values() if isinstance(value, int))
