"""From `replace` until a volume of a gigabyte has its new copy in quorum and the old one is out, with appends going on.

The new copy begins with nothing and is filled by the other ones; its process is started at once, as a supervisor would.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.load import percentile
from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError
from bench.volume.appending import fill, written
from bench.volume.lag import paced
from bench.volume.volumes import Volume, volume, volume_name
from sixfold import catalogue
from sixfold.bus import open_bus
from sixfold_functions.volume.client import VolumeClient, VolumeWriter
from sixfold_functions.volume.fleet import Fleet

RESULTS = ("replace_1gb_s",)
GIGABYTE = 1_000_000_000
OLD = "a2"
PER_S = 500
"""Appends of 300 bytes that go on all the time."""
WAIT_S = 300.0
"""At 4 MB/s a gigabyte takes so long; what is slower is an error, so that the other results are kept."""
PART_S = 1.0
"""Appends are paced in parts of so long, so that they end soon after the replacement."""


async def replacing(lab: Lab, broker: int | None) -> Outcome:
    """Seconds of one replacement: a gigabyte is enough to be no matter of chance."""
    filled_bytes = round(GIGABYTE * min(lab.scale.share, 1.0))
    async with volume(lab.bus, lab.folder, volume_name(lab, "replace"), broker=broker) as ours, ours.copies() as fleet:
        took_s, appends_ms = await replaced_s(ours, fleet, filled_bytes=filled_bytes)
    outcome = Outcome()
    outcome.add("replace_1gb_s", rounds.figure([took_s]))
    outcome.details["replace"] = {
        "bytes": filled_bytes,
        "mb_per_s": round(filled_bytes / took_s / 1e6, 1),
        "appends_meanwhile": len(appends_ms),
        "append_p50_ms": round(percentile(appends_ms, 0.5), 1),
        "append_p99_ms": round(percentile(appends_ms, 0.99), 1),
    }
    return outcome


async def replaced_s(ours: Volume, fleet: Fleet, *, filled_bytes: int, per_s: int = PER_S) -> tuple[float, list[float]]:
    """Seconds, and how long each append took meanwhile in milliseconds. Raises SideError where it takes too long."""
    job, registry = ours.job(), catalogue.installed().registry
    async with written(job) as writer, open_bus(job.url, data_dir=Path(job.data_dir)) as bus:
        await fill(writer, filled_bytes)
        async with VolumeClient(bus, registry=registry, volume=ours.name) as client:
            done = asyncio.Event()
            load = asyncio.create_task(_go_on(writer, done, per_s), name="bench-appends")
            try:
                begun = time.monotonic()
                change = (await client.replace(OLD)).change
                assert change is not None
                await fleet.start(change[1])
                async with asyncio.timeout(WAIT_S):
                    while not (client.membership.settled and OLD not in client.membership.members):
                        await writer.wait_change()
                took_s = time.monotonic() - begun
            except TimeoutError:
                raise SideError(
                    f"expected a new copy in place of {OLD} within {WAIT_S:g} s, found {client.membership.members}"
                ) from None
            finally:
                done.set()
                appends_ms = await load
    return took_s, appends_ms


async def _go_on(writer: VolumeWriter, done: asyncio.Event, per_s: int) -> list[float]:
    """Append until `done`."""
    took_ms: list[float] = []
    while not done.is_set():
        took_ms += [each.took_ms for each in (await paced(writer, per_s=per_s, seconds=PART_S)).values()]
    return took_ms
