"""A worker that is killed with -9 at any moment loses nothing and, on the embedded bus, repeats no effect in the log."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.runtime.crash_child import TOPICS, Counted, Reading, count
from tests.support.waiting import eventually

from sixfold.bus import Bus, TopicPartition
from sixfold.clock import SystemClock
from sixfold.testing import Harness

ROOT = Path(__file__).parents[2]
KILLS = 8


@contextlib.asynccontextmanager
async def child(data_dir: Path, journal: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The worker in a process of its own, killed at the end of the block."""
    command = [sys.executable, "-m", "tests.runtime.crash_child", str(data_dir), str(journal)]
    log = (data_dir / "child.log").open("ab")
    with log:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def handled(journal: Path) -> collections.Counter[int]:
    """How often each reading's handler was called."""
    return collections.Counter(map(int, journal.read_text().split())) if journal.exists() else collections.Counter()


async def committed(bus: Bus) -> dict[TopicPartition, int]:
    """The function's committed offsets."""
    return await bus.committed(count.name)


@pytest.mark.slow
async def test_a_worker_killed_at_random_moments_handles_everything_and_its_table_is_the_exact_fold(
    tmp_path: Path,
) -> None:
    """At least once for the handler; exactly once for table and outputs; offsets never go back."""
    rng = random.Random(20141112)
    journal = tmp_path / "journal"
    published: list[Reading] = []
    enough = asyncio.Event()
    # The harness runs no worker here; it is the bus's client that publishes and looks.
    async with Harness(data_dir=tmp_path, clock=SystemClock(), events=[Reading, Counted], topics=TOPICS) as harness:

        async def publish() -> None:
            while not enough.is_set():
                batch = [
                    Reading(sensor=f"s{rng.randrange(20)}", number=len(published) + n)
                    for n in range(rng.randrange(1, 40))
                ]
                await harness.publish(*batch)
                published.extend(batch)
                await asyncio.sleep(0.005)

        publishing = asyncio.create_task(publish())
        last: dict[TopicPartition, int] = {}
        for _ in range(KILLS):
            before = sum(handled(journal).values())
            async with child(tmp_path, journal):
                await eventually(lambda: sum(handled(journal).values()) > before + 30, "the worker works")  # noqa: B023
                for _ in range(rng.randrange(10)):
                    now = await committed(harness.bus)
                    assert all(now[tp] >= offset for tp, offset in last.items()), "an offset went back"
                    last = now
        enough.set()
        await publishing
        async with child(tmp_path, journal):

            async def done() -> bool:
                return not any((await harness.bus.lag(count.name, count.topics)).values())

            await eventually(done, "the last worker is done with all")
        calls = handled(journal)
        assert set(calls) == {each.number for each in published}
        assert sorted(each.number for each in await harness.emitted(Counted)) == sorted(calls)
        sums: collections.Counter[str] = collections.Counter()
        for each in published:
            sums[each.sensor] += each.number
        assert await harness.table(count, "sums") == dict(sums)
