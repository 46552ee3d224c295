"""Memory of a function that idles and then works at full rate for long: what `make bench-runtime-soak` measures."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.runtime import load
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.rounds import Figure
from bench.runtime.sides import SideError, command, job, started
from sixfold.bus import TopicSpec

SAMPLE_S = 0.5
FEED = 24_000
"""Records of one filling; made once and published again and again."""
LAG_MAX = 480_000
"""So far ahead of the function the feeding goes: it never waits for records, and the disk does not fill."""
RETAINED_BYTES = 64 * 1024 * 1024
"""Per partition; what was handled long ago is dropped."""
TAIL_SHARE = 0.1
"""Part of the second half that is compared: its beginning with its end."""


def growth_mb(samples: Sequence[float]) -> float:
    """By how much the last tenth of `samples` lies above the first tenth, medians of both."""
    tail = max(1, round(len(samples) * TAIL_SHARE))
    return statistics.median(samples[-tail:]) - statistics.median(samples[:tail])


async def soak(lab: Lab) -> Outcome:
    """The most memory ever used, and what it grew by over the second half of the work."""
    topic = lab.name("soak")
    await lab.bus.create_topics([TopicSpec(name=topic, partitions=load.PARTITIONS, retention_bytes=RETAINED_BYTES)])
    work = job(lab, topic, 2**62, mode="noop")
    samples: list[float] = []
    async with started(command("ours", work)) as running:
        sampling = asyncio.create_task(_sample(running.process.pid, samples))
        await asyncio.sleep(lab.scale.idle_s)
        idle = len(samples)
        handled = await _work(lab, topic, work.group)
        sampling.cancel()
        if running.process.returncode is not None:
            raise SideError(f"the function ended with exit code {running.process.returncode} during the soak")
    if handled < FEED:
        raise SideError(f"expected a function that works at full rate, found {handled} records handled in the soak")
    working = samples[idle:]
    outcome = Outcome()
    half = working[len(working) // 2 :]
    outcome.add("memory_mb_max", Figure(max(samples), max(samples), max(samples)))
    outcome.add("memory_growth_mb", Figure(growth_mb(half), growth_mb(half), growth_mb(half)))
    outcome.details["soak_handled_per_s"] = round(handled / lab.scale.work_s)
    outcome.details["soak_idle_mb"] = round(statistics.median(samples[:idle]), 1)
    return outcome


async def _work(lab: Lab, topic: str, group: str) -> int:
    """Keep the function busy for the time that the scale gives; how many records it handled."""
    batch = load.records(topic, range(FEED))
    begun_s, published, handled = time.monotonic(), 0, 0
    while time.monotonic() - begun_s < lab.scale.work_s:
        handled = sum((await lab.bus.committed(group)).values())
        if published - handled < LAG_MAX:
            await lab.bus.publish(batch)
            published += FEED
        else:
            await asyncio.sleep(0.05)
    return handled


async def _sample(pid: int, samples: list[float]) -> None:
    """Note the process's resident memory in MB until cancelled."""
    page_mb = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
    statm = Path(f"/proc/{pid}/statm")
    while True:
        samples.append(int(statm.read_text().split()[1]) * page_mb)  # noqa: ASYNC240 (a file of the kernel, not of a disk)
        await asyncio.sleep(SAMPLE_S)
