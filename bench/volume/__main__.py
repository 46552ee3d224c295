"""`python -m bench.volume`: each measurement as it comes, then all beside their bars; the last line is one JSON object."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.__main__ import ROOT, local_kafka
from bench.runtime import scale
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError
from bench.volume import appends, bars, debian, flatness, lag, pins, recovery, replacing, restored, right, turns
from sixfold.bus import open_bus

Part = Callable[[Lab, int | None], Awaitable[Outcome]]
PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    (appends.RESULTS, appends.appends),
    (lag.RESULTS, lag.replica_lag),
    (("recovery_s",), recovery.recovery),
    (replacing.RESULTS, replacing.replacing),
    (restored.RESULTS, restored.restored),
    (right.RESULTS, right.right),
    (("flat_volume",), flatness.flatness),
)
"""The results in the order in which they are measured. A part is given the lab, and the broker's pid where it is ours."""


def broker_in(folder: Path) -> int | None:
    """The pid of the broker that was started in `folder`; None where SIXFOLD_TEST_KAFKA named another one."""
    path = folder / "broker-1" / "pid"
    return int(path.read_text()) if path.exists() else None


async def measure(lab: Lab, broker: int | None) -> Outcome:
    """Every measurement that the scale asks for."""
    outcome = Outcome()
    for names, part in PARTS:
        if lab.scale.wants(*names):
            begun = time.monotonic()
            print(f"{', '.join(name for name in names if lab.scale.wants(name))} …", flush=True)
            try:
                outcome.merge(await part(lab, broker))
            except SideError as error:
                # The other parts take a quarter of an hour together: what they find is kept.
                for name in filter(lab.scale.wants, names):
                    outcome.lack(name, f"{turns.FAILED}: {error}")
            print(f"  took {time.monotonic() - begun:.0f} s", flush=True)
    return outcome


async def main() -> int:
    """The exit code: 1 where a measurement failed; a peer that cannot be had here is no failure."""
    wanted = scale.from_environment(rounds=3)
    kafka = Path(tempfile.mkdtemp(prefix="sixfold-kafka-"))
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=ROOT))
    try:
        bootstrap = await local_kafka(kafka)
        async with open_bus(f"kafka://{bootstrap}", data_dir=folder) as bus:
            outcome = await measure(Lab(bus, bootstrap, folder, wanted), broker_in(kafka))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if broker_in(kafka) is not None:
            # Not uvloop's subprocess, as in `local_kafka`. The broker would stop by itself, and leave its gigabytes.
            stop = [str(ROOT / "tests" / "kafka" / "local"), "stop", str(kafka)]
            await asyncio.to_thread(subprocess.run, stop, check=False)
        shutil.rmtree(kafka, ignore_errors=True)
    outcome.details["rounds"] = wanted.rounds
    outcome.details["bars"] = {name: str(bar) for name, bar in bars.BARS.items() if name in outcome.values}
    outcome.details["versions"] = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("aiokafka", "fastavro", "uvloop")},
        "peers": {**pins.PINNED, **debian.versions()},
    }
    outcome.details["cores"] = os.cpu_count()
    print("\n".join(bars.table(outcome.values)), flush=True)
    print(json.dumps(outcome.report()))
    return int(any(reason.startswith(turns.FAILED) for reason in outcome.missing.values()))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
