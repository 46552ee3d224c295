"""`python -m bench.runtime [soak]`: each measurement as it comes; the last line is one JSON object."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.__main__ import ROOT, local_kafka
from bench.runtime import consuming, environments, flatness, memory, pending, publishing, restarts, scale, workers
from bench.runtime.outcome import Outcome
from bench.runtime.sides import Lab
from sixfold.bus import open_bus

SOAK = ("memory_mb_max", "memory_growth_mb")


async def measure(lab: Lab, *, soak: bool) -> Outcome:
    """Every measurement that the scale asks for."""
    topics = consuming.Topics(lab)
    parts: list[tuple[tuple[str, ...], Callable[[], Awaitable[Outcome]]]] = [
        (tuple(consuming.NOOP), lambda: consuming.noop(lab, topics)),
        (("batch_vs_bare",), lambda: consuming.batch(lab, topics)),
        (("keyed_io_vs_best_peer",), lambda: consuming.keyed(lab, topics)),
        (("workers2_vs_1",), lambda: workers.workers(lab)),
        (("publish_vs_bare",), lambda: publishing.publishing(lab)),
        (pending.EXACTLY_ONCE, lambda: pending.exactly_once(lab)),
        (("flat_partitions",), lambda: flatness.partitions(lab)),
        (("flat_functions",), lambda: flatness.functions(lab)),
        (("flat_keys",), lambda: flatness.keys(lab)),
        (("restart_s_embedded", "restart_s_kafka"), lambda: restarts.restarts(lab)),
    ]
    if soak:
        parts = [(SOAK, lambda: memory.soak(lab))]
    outcome = Outcome()
    for names, part in parts:
        if lab.scale.wants(*names):
            outcome.merge(await part())
    if not soak and lab.scale.wants(*SOAK):
        for name in SOAK:
            outcome.lack(name, "run `make bench-runtime-soak`")
    return outcome


async def main(*, soak: bool) -> None:
    wanted = scale.from_environment()
    for peer in () if soak else environments.PINNED:
        await asyncio.to_thread(environments.python_of, peer)
    broker = Path(tempfile.mkdtemp(prefix="sixfold-kafka-"))
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=ROOT))
    try:
        bootstrap = await local_kafka(broker)
        async with open_bus(f"kafka://{bootstrap}", data_dir=folder) as bus:
            outcome = await measure(Lab(bus, bootstrap, folder, wanted), soak=soak)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    outcome.details["rounds"] = wanted.rounds
    outcome.details["share"] = wanted.share
    outcome.details["versions"] = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("aiokafka", "fastavro", "uvloop")},
        "peers": environments.PINNED,
    }
    outcome.details["cores"] = os.cpu_count()
    print(json.dumps(outcome.report()))


if __name__ == "__main__":
    sys.exit(uvloop.run(main(soak="soak" in sys.argv[1:])))
