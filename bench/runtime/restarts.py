"""From `kill -9` of a running function to the first record that its successor handles, started at once by `sixfold run`."""

from __future__ import annotations

import functools
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.runtime import load, rounds
from bench.runtime.job import SAY_EVERY
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import started
from sixfold.bus import open_bus

RECORDS = 12_000
"""More than the function handles before the last round ends: a record takes it a millisecond."""


async def restarts(lab: Lab) -> Outcome:
    """Seconds on each bus; on the embedded one the killed process owned the bus as well."""
    topic = lab.name("restart")
    with tempfile.TemporaryDirectory(dir=lab.folder) as folder:
        async with open_bus("embedded:", data_dir=Path(folder)) as bus:
            await load.fill(bus, topic, range(RECORDS))
        await load.fill(lab.bus, topic, range(RECORDS))
        urls = {"restart_s_embedded": "embedded:", "restart_s_kafka": lab.bus.url}
        times = await rounds.interleaved(
            {name: functools.partial(_restart_s, url, Path(folder), topic) for name, url in urls.items()},
            lab.scale.rounds,
        )
    outcome = Outcome()
    for name, values in times.items():
        outcome.add(name, rounds.figure(values))
    return outcome


async def _restart_s(url: str, folder: Path, topic: str) -> float:
    command = [sys.executable, "-m", "sixfold", "--data-dir", str(folder), "--bus", url]
    command += ["run", "bench/runtime/restarting.py"]
    environment = {"SIXFOLD_BENCH_TOPIC": topic, "SIXFOLD_BENCH_GROUP": f"{topic}.group"}
    async with started(command, environment) as running:
        while (await running.said())["handled"] < SAY_EVERY:
            pass
        killed_s = time.monotonic()
        running.process.send_signal(signal.SIGKILL)
        await running.process.wait()
    async with started(command, environment) as running:
        return float((await running.said())["at_s"] - killed_s)
