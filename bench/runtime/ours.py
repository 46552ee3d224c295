"""Our side: `python -m bench.runtime.ours JOB` runs functions of one kind as a process does in production."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.runtime.job import GROUP, Job, told
from bench.runtime.load import REGISTRY, Reading, Transformed, direct, output_of, reading
from bench.runtime.tally import OrderedTally, Tally, burn, say
from sixfold import Batch, BatchContext, Context, Publisher, function, running
from sixfold.bus import Bus, open_bus
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry import logs

BURN_S = 0.005
WAIT_S = 0.01
BATCH = Batch(size=2_000, window_s=0.02)
"""As many as the bare loop takes at a time."""


def noop(job: Job) -> Sequence[AnyFunction]:
    """One event at a time to an async handler that does nothing."""
    tally = Tally(job.count, job.warm)

    @function(on=Reading, name=job.group)
    async def handler(event: Reading, ctx: Context) -> None:
        """Count."""
        tally.add(event.number)

    return [handler]


def batch(job: Job) -> Sequence[AnyFunction]:
    """Many events at once to an async handler that does nothing."""
    tally = Tally(job.count, job.warm)

    @function(on=Reading, name=job.group, batch=BATCH)
    async def handler(events: list[Reading], ctx: BatchContext) -> None:
        """Count."""
        for event in events:
            tally.add(event.number)

    return [handler]


def keyed(job: Job) -> Sequence[AnyFunction]:
    """10 ms awaited per event, the records of one key in order."""
    tally = OrderedTally(job.count, job.warm)

    @function(on=Reading, name=job.group, ordering="key", concurrency=job.concurrency)
    async def handler(event: Reading, ctx: Context) -> None:
        """Wait, and watch that nobody else has this key."""
        tally.begin(event.sensor, event.number)
        await asyncio.sleep(WAIT_S)
        tally.end(event.sensor, event.number)

    return [handler]


def cpu(job: Job) -> Sequence[AnyFunction]:
    """5 ms of processor time per event; says after each record when the first and the last one were handled.

    Several processes share the work, so none knows which record is the last; the first `warm` numbers are not measured.
    """
    first_s, handled, numbers = 0.0, 0, 0

    @function(on=Reading, name=job.group)
    def handler(event: Reading, ctx: Context) -> None:
        """Work."""
        nonlocal first_s, handled, numbers
        if event.number >= job.warm and not first_s:
            first_s = time.monotonic()
        burn(BURN_S)
        handled += 1
        numbers += event.number
        say(handled=handled, numbers=numbers, first_s=first_s, last_s=time.monotonic())

    return [handler]


def table(job: Job) -> Sequence[AnyFunction]:
    """Reads and writes one row of a table per event, the row of its key."""
    tally = Tally(job.count, job.warm)

    @function(on=Reading, name=job.group, tables=["sums"])
    async def handler(event: Reading, ctx: Context) -> None:
        """Fold the reading into its sensor's row."""
        rows = ctx.table("sums")
        row = await rows.get(event.sensor)
        rows.put(event.sensor, [row[0] + 1, event.value] if row else [1, event.value])
        tally.add(event.number)

    return [handler]


def many(job: Job) -> Sequence[AnyFunction]:
    """`concurrency` functions, each of which takes every event; they say when all have had a record."""
    tally = Tally(job.count, job.warm)
    waiting = set(range(job.concurrency))

    def one(index: int) -> AnyFunction:
        @function(on=Reading, name=f"{job.group}.{index}")
        async def handler(event: Reading, ctx: Context) -> None:
            """Count."""
            if index in waiting:
                waiting.discard(index)
                if not waiting:
                    say(ready=True)
            tally.add(event.number)

        return handler

    return [one(index) for index in range(job.concurrency)]


def transform(job: Job) -> Sequence[AnyFunction]:
    """Consumes, transforms, produces: one event out for each event in, exactly once."""
    tally = Tally(job.count, job.warm)

    @function(on=Reading, emits=[Transformed], name=job.group, delivery="exactly-once")
    async def handler(event: Reading, ctx: Context) -> None:
        """Emit the reading's transformation."""
        ctx.emit(Transformed(sensor=event.sensor, number=event.number, value=event.value, note=event.note))
        tally.add(event.number)
        if job.say_every and tally.handled % job.say_every == 0:
            say(progress=tally.handled)

    return [handler]


KINDS: dict[str, Callable[[Job], Sequence[AnyFunction]]] = {
    kind.__name__: kind for kind in (noop, batch, keyed, cpu, table, many, transform)
}


async def run(bus: Bus, job: Job, functions: Sequence[AnyFunction]) -> None:
    """Run `functions` until killed."""
    process = Process(name="bench", data_dir=Path(job.data_dir), registry=REGISTRY, bus=bus)
    await running.run_functions(process, functions, stopping=process.stopping)


async def publish(bus: Bus, job: Job) -> None:
    """Publish in groups, two groups on the way at a time; each is awaited to its acknowledgement."""
    publisher = Publisher(bus, source="/bench")
    first_s = 0.0
    for begin, end in ((0, job.warm), (job.warm, job.count)):
        first_s = time.monotonic()
        waiting: set[asyncio.Task[Any]] = set()
        for start in range(begin, end, GROUP):
            events = [reading(number) for number in range(start, min(start + GROUP, end))]
            waiting.add(asyncio.create_task(publisher.publish(*events)))
            if len(waiting) > 1:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*waiting)
    say(handled=job.count, first_s=first_s, last_s=time.monotonic())


async def main(job: Job) -> None:
    """Do what `job` says."""
    logs.to_terminal(level=logging.WARNING)
    direct(job.topic, output_of(job))
    async with open_bus(f"kafka://{job.bootstrap}", data_dir=Path(job.data_dir)) as bus:
        if job.mode == "publish":
            await publish(bus, job)
        else:
            await run(bus, job, KINDS[job.mode](job))


if __name__ == "__main__":
    uvloop.run(main(told()))
