"""Running one process of one side, and judging what it did: the same judge for ours and for every peer.

A side prints one JSON line once it has handled its last record. Only then the judge begins to ask the broker for the
group's committed offsets, so nobody else uses the processor while a side works. The time of a run ends when the last
record was handled and committed, whichever came later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.runtime import environments, load
from bench.runtime.job import Job
from bench.runtime.lab import Lab

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 300.0
COMMIT_TIMEOUT_S = 30.0
"""Longer than any framework's default commit interval."""
POLL_S = 0.005


class SideError(RuntimeError):
    """A side failed, or did not do what it was asked to; its figure would mean nothing."""


def job(lab: Lab, topic: str, count: int, *, mode: str, **more: Any) -> Job:
    """The job of one process over `topic`; a tenth of its records warms up unless `warm` says otherwise."""
    usual: dict[str, Any] = {
        "group": lab.name("group"),
        "warm": count // 10,
        "data_dir": str(lab.folder),
        "event_type": load.Reading.__event__.type,
        "schema": load.CODEC.schema,
        "schema_id": load.CODEC.id,
    }
    return Job(**{**usual, "bootstrap": lab.bootstrap, "topic": topic, "count": count, "mode": mode, **more})


def command(side: str, work: Job) -> list[str]:
    """How `side` (`ours`, or a module of `peers` with its environment: `bare.bare_publisher`) is started for `work`."""
    peer, _, module = side.partition(".")
    if peer == "ours":
        return [sys.executable, "-m", "bench.runtime.ours", work.text()]
    return [environments.python_of(peer), "-m", f"bench.runtime.peers.{module or peer}", work.text()]


class Running:
    """A process that was started; `result` waits for what it says."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.process = process
        self._errors = errors

    async def said(self, timeout_s: float = RUN_TIMEOUT_S) -> dict[str, Any]:
        """The next JSON line that it prints. Raises SideError where it ends or says nothing in time."""
        assert self.process.stdout is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for line in self.process.stdout:
                    with contextlib.suppress(ValueError):
                        found = json.loads(line[max(0, line.find(b"{")) :])  # Faust's spinner writes before it
                        if isinstance(found, dict):
                            return found
        last = self._errors.read_text(errors="replace")[-2000:]
        raise SideError(f"expected a JSON line within {timeout_s:g} s, found none; its error output:\n{last}")


@contextlib.asynccontextmanager
async def started(arguments: list[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """A process of the project's folder, killed with its children when the block ends."""
    with tempfile.NamedTemporaryFile(suffix=".log") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield Running(process, Path(errors.name))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def committed(lab: Lab, group: str, topic: str, offsets: int, timeout_s: float = COMMIT_TIMEOUT_S) -> float:
    """When the group's offsets of `topic` were seen to add up to `offsets`. Raises SideError where they never do."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await lab.bus.committed(group)
        seen_s = time.monotonic()
        total = sum(offset for partition, offset in found.items() if partition.topic == topic)
        if total >= offsets:
            return seen_s
        if seen_s > deadline:
            raise SideError(f"{group}: expected {offsets} committed records, found {total} after {timeout_s:g} s")
        await asyncio.sleep(POLL_S)


def check(work: Job, result: dict[str, Any], numbers: int) -> None:
    """Raises SideError unless the records whose `numbers` add up to so much were handled, in order where that counts."""
    if (result["handled"], result["numbers"]) != (work.count, numbers):
        raise SideError(
            f"{work.mode} of {work.topic}: expected {work.count} records whose numbers add up to {numbers}, "
            f"found {result['handled']} and {result['numbers']}"
        )
    if result.get("violations"):
        raise SideError(f"{work.mode} of {work.topic}: {result['violations']} records of one key overtook one another")


class Run(NamedTuple):
    """What one run took, start-up left out."""

    per_s: float
    """Records a second."""
    cpu_s: float
    """Processor time of the measured process for one record, seconds, all its threads together."""


async def run(lab: Lab, side: str, work: Job, *, first: int = 0) -> Run:
    """One run of `side` until all is handled and committed; the `first` records were committed already."""
    async with started(command(side, work)) as running:
        result = await running.said()
        check(work, result, sum(range(first, first + work.count)))
        end_s = max(result["last_s"], await committed(lab, work.group, work.topic, first + work.count))
    count = work.count - work.warm
    return Run(count / (end_s - result["first_s"]), result.get("cpu_s", 0.0) / count)


async def rate(lab: Lab, side: str, work: Job, *, first: int = 0) -> float:
    """Records a second of one `run`."""
    return (await run(lab, side, work, first=first)).per_s


async def consuming_rate(lab: Lab, side: str, topic: str, count: int, *, mode: str, **more: Any) -> float:
    """As `rate`, over a topic of `count` records by a group of its own."""
    return await rate(lab, side, job(lab, topic, count, mode=mode, **more))
