"""Measuring a bus through its port: publishing, consuming by a worker, and the way from publisher to handler."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench import load
from bench.processes import background, finish, role, start
from sixfold.bus import Bus, TopicSpec

NOISY_PROCESSES = 6


async def throughput(bus: Bus, folder: Path, counts: dict[str, int]) -> dict[str, float]:
    """Rates of publishing in batches, of publishing one by one, and of a worker that runs a no-op function."""
    await fresh_topic(bus)
    awaited = await role("publish_awaited", bus.url, folder, counts["awaited"])
    await fresh_topic(bus)
    batch = await role("publish_batches", bus.url, folder, counts["batch"])
    consumed = await role("consume", bus.url, folder, counts["batch"])
    return {
        "publish_batch_per_s": batch["per_s"],
        "publish_awaited_per_s": awaited["per_s"],
        "consume_per_s": consumed["per_s"],
    }


async def latency(bus: Bus, folder: Path, count: int) -> dict[str, float]:
    """From publish to handler in two processes at 100 events a second, while six others write now and then."""
    await fresh_topic(bus)
    noise = [("bench.roles", "disturb", bus.url, str(folder), str(seed)) for seed in range(NOISY_PROCESSES)]
    async with background(*noise):
        handler = await start("bench.roles", "handle", bus.url, str(folder), str(count))
        pacing = await start("bench.roles", "pace", bus.url, str(folder), str(count))
        await asyncio.gather(finish(pacing), measured := asyncio.ensure_future(finish(handler)))
    result = measured.result()
    return {"publish_to_handler_p50_ms": result["p50_ms"], "publish_to_handler_p99_ms": result["p99_ms"]}


async def fresh_topic(bus: Bus) -> None:
    """An empty topic for the readings, and one for the noise."""
    if load.TOPIC in await bus.topics():
        await bus.delete_topic(load.TOPIC)
    await bus.create_topics([load.SPEC, TopicSpec(name="bench.noise"), TopicSpec(name="bench.noop.dlq", partitions=1)])
