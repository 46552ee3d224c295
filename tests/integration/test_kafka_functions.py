"""Functions on a real Kafka: what the embedded bus does by transactions of its own must hold on a cluster, too."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import Batch, BatchContext, Context, Event, Publisher, Retry, TemporaryError, function, running
from sixfold.bus import EARLIEST, Bus, TopicPartition, ends
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.redriving import DeadLetters
from sixfold_events.registry import Registry
from sixfold_events.system import RequestFailed, Tick

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
RUN = uuid.uuid4().hex[:8]
"""Topics and groups of this run: a cluster is shared."""


class Order(Event, topic=f"fk-{RUN}.orders", key="customer"):
    number: int
    customer: str = "c"


class Bill(Event, topic=f"fk-{RUN}.bills", key="customer"):
    number: int
    customer: str = "c"


@pytest.fixture
def place(kafka_bootstrap: str, tmp_path: Path) -> buses.Place:
    """Kafka only."""
    return buses.Place(f"kafka://{kafka_bootstrap}", tmp_path)


@contextlib.asynccontextmanager
async def running_(bus: Bus, tmp_path: Path, functions: Sequence[AnyFunction]) -> AsyncIterator[Process]:
    """The functions' workers, in this process."""
    registry = Registry([Order, Bill, Tick, RequestFailed])
    process = Process(name="test", data_dir=tmp_path, registry=registry, bus=bus)
    task = asyncio.create_task(running.run_functions(process, functions, stopping=process.stopping))
    try:
        yield process
    finally:
        process.stopping.set()
        await task


async def bills(bus: Bus) -> list[tuple[int, bytes]]:
    """Number and event id of every bill, committed ones only."""
    topic = Bill.__event__.topic
    if topic not in await bus.topics():
        return []
    partitions = [TopicPartition(topic, number) for number in range((await bus.topics())[topic].partitions)]
    found, registry = [], Registry([Bill])
    async with bus.assign(partitions, start=EARLIEST) as consumer:
        async for records in ends.read_up_to(consumer, await ends.of(bus, partitions)):
            for record in records:
                event = registry.decode(record.value, record.headers)
                assert isinstance(event, Bill)
                found.append((event.number, dict(record.headers)["ce_id"]))
    return found


async def test_batches_timers_ticks_and_retries_through_a_topic(bus: Bus, tmp_path: Path) -> None:
    """One function of each kind, over one topic: everything is done, the failed record in its third attempt."""
    tries: Counter[int] = Counter()
    ticks: list[int] = []

    @function(
        on=Order,
        emits=[Bill],
        name=f"fk-{RUN}.bill",
        ordering="key",
        concurrency=2,
        batch=Batch(size=10, window_s=0.05),
        retry=Retry(attempts_max=3, backoff_s=0.2, mode="topic"),
    )
    async def bill(orders: list[Order], ctx: BatchContext) -> None:
        for index, order in enumerate(orders):
            tries[order.number] += 1
            if order.number == 7 and tries[7] < 3:
                ctx.fail(index, TemporaryError("not yet"))
            elif order.number % 2:
                ctx[index].emit(Bill(number=order.number))
            else:
                ctx[index].schedule(datetime.timedelta(seconds=0.5), Bill(number=order.number))

    @function(every=datetime.timedelta(seconds=1), name=f"fk-{RUN}.clock")
    async def clock(tick: Tick, ctx: Context) -> None:
        ticks.append(tick.at_ms)

    async with running_(bus, tmp_path, [bill, clock]):
        await eventually(lambda: bool(ticks), "it ticks", 60)
        await Publisher(bus, source="/test").publish(*(Order(number=n, customer=f"c{n % 7}") for n in range(50)))

        async def all_there() -> bool:
            return sorted(number for number, _ in await bills(bus)) == list(range(50))

        await eventually(all_there, "every order is billed, at once or by its timer", 60)
    assert tries[7] == 3
    assert set(Counter(dict(tries) | {7: 1}).values()) == {1}
    assert len(ticks) == len(set(ticks))


async def test_a_restart_does_not_redo_what_was_finished_above_a_stuck_record(bus: Bus, tmp_path: Path) -> None:
    """The gaps lie in Kafka's commit metadata, where other tools see them too."""
    handled: Counter[int] = Counter()
    stuck = True

    @function(
        on=Order, name=f"fk-{RUN}.gaps", ordering="none", concurrency=4, retry=Retry(backoff_s=600, attempts_max=9)
    )
    async def take(order: Order, ctx: Context) -> None:
        handled[order.number] += 1
        if order.number == 1000 and stuck:
            raise TemporaryError("stuck")

    await running.create_topics(bus, [take])
    numbers = [1000, *range(1001, 1100)]
    await Publisher(bus, source="/test").publish(*(Order(number=n, customer="one key") for n in numbers))
    async with running_(bus, tmp_path, [take]):
        await eventually(lambda: set(numbers) <= set(handled), "all were tried", 60)
    stuck = False
    async with running_(bus, tmp_path, [take]):
        await eventually(lambda: handled[1000] == 2, "the stuck one comes again", 60)
    assert {number for number in numbers if handled[number] > 1} == {1000}


async def test_dead_letters_are_redriven_on_kafka(bus: Bus, tmp_path: Path) -> None:
    """With the function's table, whose rows belong to the original's partition number."""
    broken = True
    sums: dict[str, Any] = {}

    @function(on=Order, name=f"fk-{RUN}.sums", tables=["sums"], retry=Retry(attempts_max=1))
    async def add(order: Order, ctx: Context) -> None:
        if broken and order.number >= 2000:
            raise ValueError("broken")
        table = ctx.table("sums")
        count = await table.get(order.customer, 0) + 1
        table.put(order.customer, count)
        sums[order.customer] = count

    await running.create_topics(bus, [add])
    async with running_(bus, tmp_path, [add]):
        await Publisher(bus, source="/test").publish(*(Order(number=2000 + n, customer=f"r{n % 3}") for n in range(9)))

        async def parked() -> bool:
            async with DeadLetters(bus, add) as letters:
                return len([each async for each in letters.letters()]) == 9

        await eventually(parked, "all are parked", 60)
        broken = False
        async with DeadLetters(bus, add) as letters:
            assert len((await letters.redrive(None, rate_per_s=500)).sent) == 9
        await eventually(
            lambda: {key: sums.get(key) for key in ("r0", "r1", "r2")} == {"r0": 3, "r1": 3, "r2": 3},
            "all came back",
            60,
        )


async def test_a_function_with_standby_copies_counts_what_they_lack(bus: Bus, tmp_path: Path) -> None:
    """Nothing, once it has looked; without them there is no such figure."""

    @function(on=Order, name=f"fk-{RUN}.warm", tables=["sums"], standby=True)
    async def warm(order: Order, ctx: Context) -> None:
        ctx.table("sums").put("one", order.number)

    @function(on=Order, name=f"fk-{RUN}.cold", tables=["sums"])
    async def cold(order: Order, ctx: Context) -> None:
        ctx.table("sums").put("one", order.number)

    await running.create_topics(bus, [warm, cold])
    process = Process(name="test", data_dir=tmp_path, registry=Registry([Order]), bus=bus)
    runs = [running.Run(each, process) for each in (warm, cold)]

    def lags() -> list[int | None]:
        for run in runs:
            if run.worker is not None:
                run.worker.count()
        return [run.counters.standby_lag for run in runs]

    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(run.run(process.stopping))
        await eventually(lambda: lags() == [0, None], "the one with copies has looked", 60)
        process.stopping.set()
