"""`python -m bench`: every measurement, a line each as it comes; the last line is one JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from bench import appends
from bench import bus as buses
from sixfold.bus import open_bus

ROOT = Path(__file__).parents[1]
KAFKA_KEYS = (
    "kafka_publish_batch_per_s",
    "kafka_publish_awaited_per_s",
    "kafka_consume_per_s",
    "kafka_publish_to_handler_p50_ms",
    "kafka_publish_to_handler_p99_ms",
    "kafka_append_p50_ms_1",
    "kafka_append_p99_ms_1",
    "kafka_append_per_s_64",
)
EMBEDDED = {"awaited": 16_000, "batch": 200_000}
KAFKA = {"awaited": 32_000, "batch": 200_000}


def note(results: dict[str, Any]) -> dict[str, Any]:
    """Print what was just measured."""
    for name, value in results.items():
        print(f"{name:34} {value:>12,.2f}" if isinstance(value, float) else f"{name:34} {value}", flush=True)
    return results


async def measure(url: str, counts: dict[str, int], prefix: str) -> dict[str, Any]:
    """All measurements on one bus, its folder beside the project so that fsync is real."""
    results: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=ROOT))
    try:
        async with open_bus(url, data_dir=folder) as bus:
            for part in (
                buses.throughput(bus, folder, counts),
                buses.latency(bus, folder, 1000),
                appends.appends(bus, folder),
            ):
                results |= note({f"{prefix}{name}": value for name, value in (await part).items()})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


async def local_kafka(folder: Path) -> str:
    """Bootstrap servers of a broker: SIXFOLD_TEST_KAFKA, else one started from its jars. Raises OSError without one."""
    if os.environ.get("SIXFOLD_TEST_KAFKA"):
        return os.environ["SIXFOLD_TEST_KAFKA"]
    command = [str(ROOT / "tests" / "kafka" / "local"), "start", str(folder), "--parent", str(os.getpid())]
    # Not uvloop's subprocess: the brokers would inherit its ends of the pipes, which then never close.
    started = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if started.returncode:
        raise OSError(started.stderr.strip().splitlines()[-1])
    return started.stdout.split()[-1]


async def main() -> None:
    results = await measure("embedded:", EMBEDDED, "")
    folder = Path(tempfile.mkdtemp(prefix="sixfold-kafka-"))
    try:
        bootstrap = await local_kafka(folder)
    except OSError as error:
        results |= dict.fromkeys(KAFKA_KEYS, None) | {"kafka_missing": str(error)}
    else:
        results |= await measure(f"kafka://{bootstrap}", KAFKA, "kafka_")
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in results.items()}))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
