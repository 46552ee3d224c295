"""Measuring the quorum volume: appends by a writer in this process to six storage-node processes, 300-byte records."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench import load
from sixfold import capability, catalogue
from sixfold.bus import Bus
from sixfold_functions.volume.capability import capability as volume
from sixfold_functions.volume.fleet import Fleet
from sixfold_functions.volume.writer import VolumeWriter

RECORD = b"r" * 300


async def appends(bus: Bus, folder: Path, *, seconds: float = 4.0) -> dict[str, float]:
    """Median latency of one task, and the rate of 64 tasks, each awaiting its own append."""
    await bus.create_topics(capability.topics_of(volume))
    registry = catalogue.installed().registry
    async with Fleet(folder, bus_url=bus.url), VolumeWriter(bus, registry=registry, name="bench") as writer:
        await run(writer, tasks=64, seconds=1.0)  # every node is up and warm
        alone = await run(writer, tasks=1, seconds=seconds)
        together = await run(writer, tasks=64, seconds=seconds)
    return {
        "append_p50_ms_1": load.percentile(alone, 0.5),
        "append_p99_ms_1": load.percentile(alone, 0.99),
        "append_per_s_64": len(together) / seconds,
    }


async def run(writer: VolumeWriter, *, tasks: int, seconds: float) -> list[float]:
    """Milliseconds of each append."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def task() -> None:
        while (begun := time.perf_counter()) < end:
            await writer.append([RECORD])
            took.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(task() for _ in range(tasks)))
    return took
