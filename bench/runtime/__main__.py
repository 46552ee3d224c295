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
from bench.runtime import consuming, environments, exactly_once, flatness, memory, publishing, restarts, scale, workers
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from sixfold.bus import open_bus

Part = Callable[[Lab], Awaitable[Outcome]]
PARTS: tuple[tuple[tuple[str, ...], Part], ...] = (
    (tuple(consuming.NOOP), consuming.noop),
    (("batch_vs_bare",), consuming.batch),
    (("keyed_io_vs_best_peer",), consuming.keyed),
    (("workers2_vs_1",), workers.workers),
    (("publish_vs_bare",), publishing.publishing),
    (exactly_once.RESULTS, exactly_once.exactly_once),
    (("flat_partitions",), flatness.partitions),
    (("flat_functions",), flatness.functions),
    (("flat_keys",), flatness.keys),
    (("restart_s_embedded", "restart_s_kafka"), restarts.restarts),
)
"""The results in the order in which they are measured."""
SOAK = ("memory_mb_max", "memory_growth_mb")


async def measure(lab: Lab, *, soak: bool) -> Outcome:
    """Every measurement that the scale asks for."""
    outcome = Outcome()
    for names, part in ((SOAK, memory.soak),) if soak else PARTS:
        if lab.scale.wants(*names):
            outcome.merge(await part(lab))
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
