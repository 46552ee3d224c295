"""5 ms of processor time per event: two worker processes of one group against one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Sequence
from typing import Any

from bench.runtime import load, rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import RUN_TIMEOUT_S, Running, SideError, command, committed, job, started
from sixfold.bus import TopicSpec

WORKERS = 2
RECORDS = 2_400
"""Twelve seconds of work for one processor."""
WARM = load.PARTITIONS
"""Records 0 to 11, one a partition, are given out until every process has had some: then all run and own their share."""
POLL_S = 0.02


async def workers(lab: Lab) -> Outcome:
    """The rate of two processes over that of one, from the first measured record to the last."""
    rates = await rounds.interleaved(
        {
            f"{WORKERS} processes": functools.partial(_rate, lab, WORKERS),
            "1 process": functools.partial(_rate, lab, 1),
        },
        lab.scale.rounds,
    )
    outcome = Outcome()
    outcome.add_ratio("workers2_vs_1", rates[f"{WORKERS} processes"], rates["1 process"])
    return outcome


class _Follower:
    """What a process said last."""

    def __init__(self, running: Running) -> None:
        self.last: dict[str, Any] = {"handled": 0, "numbers": 0}
        self.task = asyncio.create_task(self._follow(running))

    async def _follow(self, running: Running) -> None:
        while True:
            self.last = await running.said()


async def _rate(lab: Lab, processes: int) -> float:
    topic, count = lab.name("cpu"), lab.scale.records(RECORDS, load.PARTITIONS)
    await lab.bus.create_topics([TopicSpec(name=topic, partitions=load.PARTITIONS)])
    work = job(lab, topic, count, mode="cpu", warm=WARM)
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(started(command("ours", work))) for _ in range(processes)]
        followers = [_Follower(each) for each in running]
        try:
            given = 0
            while not given or not all(each.last["handled"] > 0 for each in followers):
                await load.fill(lab.bus, topic, range(WARM), create=False)
                given += WARM
                await _until(followers, given)
            async with load.hidden(lab.bootstrap, load.records(topic, range(WARM, WARM + count))):
                pass
            await _until(followers, given + count)
            await committed(lab, work.group, topic, given + count)
        finally:
            for each in followers:
                each.task.cancel()
    numbers = sum(range(WARM)) * given // WARM + sum(range(WARM, WARM + count))
    found = sum(each.last["handled"] for each in followers), sum(each.last["numbers"] for each in followers)
    if found != (given + count, numbers):
        raise SideError(f"{topic}: expected {given + count} records that add up to {numbers}, found {found}")
    first_s = min(each.last["first_s"] for each in followers)
    return float(count / (max(each.last["last_s"] for each in followers) - first_s))


async def _until(followers: Sequence[_Follower], handled: int) -> None:
    """Return once all processes together have handled so many. Raises SideError where that does not come about."""
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while sum(each.last["handled"] for each in followers) < handled:
        for each in followers:
            if each.task.done():
                each.task.result()
        if time.monotonic() > deadline:
            raise SideError(f"expected {handled} records, found {[each.last for each in followers]}")
        await asyncio.sleep(POLL_S)
