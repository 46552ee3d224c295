"""Replica lag as Aurora's paper defines it: from the commit of an append until its record is visible in a replica.

The writer and its clients are this process, the replica is another one (`visible.py`), six storage nodes are six more.
One machine has one monotonic clock, so both ends are read off the same one; no stamp of ours is believed.
"""

from __future__ import annotations

import array
import asyncio
import sys
import time
from typing import NamedTuple

from bench.load import percentile
from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError, started
from bench.volume.appending import written
from bench.volume.load import RECORD
from bench.volume.volumes import Volume, volume, volume_name
from sixfold_functions.volume.client import VolumeWriter

RESULTS = ("replica_lag_p50_ms", "replica_lag_p99_ms", "replica_lag_max_ms")
PER_S = 1_000
SECONDS = 60.0
"""At a tenth of the scale six seconds."""
WARM_S = 2.0
"""What is committed before counts as warming up."""
LAST = b"last"
"""The record behind which the replica says what it saw."""


async def replica_lag(lab: Lab, broker: int | None) -> Outcome:
    """p50, p99 and the highest of all appends of a minute at 1,000 appends a second."""
    seconds = max(SECONDS * lab.scale.share, 1.0)
    async with volume(lab.bus, lab.folder, volume_name(lab, "lag"), broker=broker) as ours, ours.copies():
        found = await measured(ours, per_s=PER_S, seconds=seconds)
    outcome, lags = Outcome(), found.lags_ms
    for name, value in zip(RESULTS, (percentile(lags, 0.5), percentile(lags, 0.99), max(lags)), strict=True):
        outcome.add(name, rounds.figure([value]))
    outcome.details["replica_lag"] = {
        "appends": len(lags),
        "per_s": round(found.per_s),
        "append_p50_ms": round(percentile(found.appends_ms, 0.5), 1),
        "append_p99_ms": round(percentile(found.appends_ms, 0.99), 1),
    }
    return outcome


class Lag(NamedTuple):
    """What one run found."""

    lags_ms: list[float]
    appends_ms: list[float]
    """How long each took until it was acknowledged: two hops and an fsync, where the lag is one hop."""
    per_s: float
    """Acknowledged."""


async def measured(ours: Volume, *, per_s: int, seconds: float) -> Lag:
    """Of every append but the first. Raises SideError where the replica lacks one."""
    job = ours.job()
    async with written(job) as writer, started([sys.executable, "-m", "bench.volume.visible", job.text()]) as replica:
        await replica.said()  # it follows
        committed = await paced(writer, per_s=per_s, seconds=WARM_S + seconds)
        await writer.append([LAST])
        said = await replica.said()
    seen = array.array("q")  # of LSN 1 and those that follow
    with open(said["path"], "rb") as file:  # noqa: ASYNC230 (all is over)
        seen.frombytes(file.read())
    lacking = [lsn for lsn in committed if lsn > len(seen)]
    if lacking:
        raise SideError(
            f"expected {max(committed)} records at the replica, found {len(seen)}; LSN {lacking[0]} is lacking"
        )
    begun_ns = min(committed.values()).at_ns + int(WARM_S * 1e9)
    counted = {lsn: each for lsn, each in committed.items() if each.at_ns >= begun_ns}
    return Lag(
        lags_ms=[max(seen[lsn - 1] - each.at_ns, 0) / 1e6 for lsn, each in counted.items()],
        appends_ms=[each.took_ms for each in counted.values()],
        per_s=len(counted) / ((max(counted.values()).at_ns - begun_ns) / 1e9),
    )


class Committed(NamedTuple):
    """An append of one record."""

    at_ns: int
    """When it was acknowledged."""
    took_ms: float


async def paced(writer: VolumeWriter, *, per_s: int, seconds: float) -> dict[int, Committed]:
    """Append one record after the other at that pace, whatever the volume does; what became of each LSN."""
    committed: dict[int, Committed] = {}

    async def append() -> None:
        begun_ns = time.monotonic_ns()
        done = await writer.append([RECORD])
        at_ns = time.monotonic_ns()
        committed[done.last_lsn] = Committed(at_ns, (at_ns - begun_ns) / 1e6)

    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(per_s * seconds)):
            if (wait_s := begun + number / per_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            tasks.create_task(append())
    return committed
