"""Exactly once on Kafka: a function that emits one event per event with `delivery="exactly-once"`, 12 partitions."""

from __future__ import annotations

import asyncio
import functools
import random
import signal
import statistics
import time
from collections import Counter

from bench.runtime import load, rounds, sides
from bench.runtime.job import Job
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from sixfold import Publisher
from sixfold.bus import Consumer, TopicSpec

RESULTS = ("eos_per_s", "eos_p50_ms", "eos_duplicates")
RECORDS = 240_000
PACED = 10_000
"""Events of the latency's measurement, 1,000 a second."""
TICK_S, TICK = 0.02, 20
KILLS = 10
KILLED_RECORDS = 120_000
KILLED_AFTER = (500, 6_000)
"""A life ends after so many records, drawn between these; the ten together handle half of them at most."""
QUIET_S = 3.0
"""The output is read when nothing more of it comes for so long."""


async def exactly_once(lab: Lab) -> Outcome:
    """Events a second, the way from publisher to a reader of the output, and duplicates after ten `kill -9`."""
    topic, count = await lab.readings(RECORDS)
    outcome = Outcome()
    rates = await rounds.interleaved({"eos_per_s": functools.partial(_rate, lab, topic, count)}, lab.scale.rounds)
    outcome.add("eos_per_s", rounds.figure(rates["eos_per_s"]))
    times = await rounds.interleaved({"eos_p50_ms": functools.partial(_p50_ms, lab)}, lab.scale.rounds)
    outcome.add("eos_p50_ms", rounds.figure(times["eos_p50_ms"]))
    outcome.add("eos_duplicates", rounds.figure([await _duplicates(lab)]))
    return outcome


async def _job(lab: Lab, topic: str, count: int, **more: int) -> Job:
    work = sides.job(lab, topic, count, mode="transform", **more)
    await lab.bus.create_topics([TopicSpec(name=load.output_of(work), partitions=load.PARTITIONS)])
    return work


async def _rate(lab: Lab, topic: str, count: int) -> float:
    work = await _job(lab, topic, count)
    rate = await sides.rate(lab, "ours", work)
    await _exactly(lab, work)
    return rate


async def _p50_ms(lab: Lab) -> float:
    """At 1,000 events a second, as a reader of committed records sees it, once one event of each partition got through."""
    topic, count = lab.name("paced"), lab.scale.records(PACED, TICK)
    await load.fill(lab.bus, topic, range(load.PARTITIONS))
    work = await _job(lab, topic, load.PARTITIONS + count)
    latencies: list[float] = []
    async with (
        sides.started(sides.command("ours", work)),
        lab.bus.subscribe(lab.name("reader"), [load.output_of(work)]) as reader,
        asyncio.timeout(sides.RUN_TIMEOUT_S),
    ):
        await _read(reader, load.PARTITIONS, [])
        await asyncio.gather(_pace(lab, topic, count), _read(reader, count, latencies))
    return statistics.median(latencies)


async def _read(reader: Consumer, count: int, latencies: list[float]) -> None:
    """Read `count` events; each says in `value` when it was published."""
    found = 0
    while found < count:
        for records in (await reader.fetch()).values():
            now_s = time.monotonic()
            latencies += [(now_s - load.transformed(record).value) * 1000 for record in records]
            found += len(records)


async def _pace(lab: Lab, topic: str, count: int) -> None:
    publisher = Publisher(lab.bus, source="/bench")
    load.direct(topic)
    begun_s = time.monotonic()
    for start in range(0, count, TICK):
        await asyncio.sleep(begun_s + start / TICK * TICK_S - time.monotonic())
        now_s = time.monotonic()
        await publisher.publish(*(load.reading(number, value=now_s) for number in range(start, start + TICK)))


async def _duplicates(lab: Lab) -> float:
    """Ten lives end by `kill -9` in the middle of the work, an eleventh finishes it; events that came out twice."""
    topic, count = await lab.readings(KILLED_RECORDS)
    work = await _job(lab, topic, count, say_every=100)
    rng = random.Random(1)
    for _ in range(KILLS):
        after = rng.randint(*KILLED_AFTER) * min(1.0, lab.scale.share)
        async with sides.started(sides.command("ours", work)) as running:
            while (await running.said())["progress"] < after:
                pass
            running.process.send_signal(signal.SIGKILL)
            await running.process.wait()
    async with sides.started(sides.command("ours", work)):
        await sides.committed(lab, work.group, topic, count, timeout_s=sides.RUN_TIMEOUT_S)
    return float(await _exactly(lab, work, duplicates=True))


async def _exactly(lab: Lab, work: Job, *, duplicates: bool = False) -> int:
    """How many events too many the output holds. Raises SideError where one is missing, or, unless asked, too many."""
    found: Counter[int] = Counter()
    async with lab.bus.subscribe(lab.name("reader"), [load.output_of(work)]) as reader:
        while batches := await reader.fetch(records_max=5_000, wait_s=QUIET_S):
            for records in batches.values():
                found.update(load.transformed(record).number for record in records)
    await lab.bus.delete_topic(load.output_of(work))
    extra = found.total() - len(found)
    if len(found) != work.count or (extra and not duplicates):
        raise sides.SideError(
            f"{work.group}: expected {work.count} events, each once, found {len(found)} and {extra} more"
        )
    return extra
