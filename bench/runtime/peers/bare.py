"""A bare aiokafka loop: `getmany`, decode, await the handler, commit what is done ten times a second."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer

from bench.runtime.job import COMMIT_S, Job, decoder, told, type_of
from bench.runtime.tally import OrderedTally, Tally

Records = list[Any]


async def consume(job: Job, handle: Callable[[Records], Awaitable[None]]) -> None:
    """Give `handle` all records of each `getmany`, until killed."""
    consumer = AIOKafkaConsumer(
        job.topic,
        bootstrap_servers=job.bootstrap,
        group_id=job.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    done: dict[Any, int] = {}
    committed_s = time.monotonic()
    while True:
        batches = await consumer.getmany(timeout_ms=20, max_records=2_000)
        await handle(list(itertools.chain.from_iterable(batches.values())))
        for partition, records in batches.items():
            done[partition] = records[-1].offset + 1
        if done and time.monotonic() - committed_s >= COMMIT_S:
            await consumer.commit(done)
            done, committed_s = {}, time.monotonic()


async def noop(job: Job) -> None:
    """One event at a time to a handler that does nothing."""
    tally, decode, kind = Tally(job.count, job.warm), decoder(job), job.event_type.encode()

    async def handler(event: dict[str, Any]) -> None:
        tally.add(event["number"])

    async def handle(records: Records) -> None:
        for record in records:
            if type_of(record.headers) == kind:
                await handler(decode(record.value))

    await consume(job, handle)


async def batch(job: Job) -> None:
    """All events of a `getmany` at once to a handler that does nothing."""
    tally, decode, kind = Tally(job.count, job.warm), decoder(job), job.event_type.encode()

    async def handler(events: list[dict[str, Any]]) -> None:
        for event in events:
            tally.add(event["number"])

    async def handle(records: Records) -> None:
        await handler([decode(record.value) for record in records if type_of(record.headers) == kind])

    await consume(job, handle)


async def keyed(job: Job) -> None:
    """10 ms awaited per event; what one `getmany` brought runs side by side, the records of one key one after another.

    No setting of aiokafka: lanes written by hand, in the fewest lines. Its slowest key holds up each round.
    """
    tally, decode, kind = OrderedTally(job.count, job.warm), decoder(job), job.event_type.encode()

    async def lane(events: list[dict[str, Any]]) -> None:
        for event in events:
            tally.begin(event["sensor"], event["number"])
            await asyncio.sleep(0.01)
            tally.end(event["sensor"], event["number"])

    async def handle(records: Records) -> None:
        lanes: dict[bytes, list[dict[str, Any]]] = {}
        for record in records:
            if type_of(record.headers) == kind:
                lanes.setdefault(record.key, []).append(decode(record.value))
        await asyncio.gather(*map(lane, lanes.values()))

    await consume(job, handle)


if __name__ == "__main__":
    mine = told()
    uvloop.run({"noop": noop, "batch": batch, "keyed": keyed}[mine.mode](mine))
