"""The process of a replica that is measured: `python -m bench.volume.visible JOB`. It notes when each record is visible."""

from __future__ import annotations

import array
import asyncio
import logging
import os
import time
from pathlib import Path

import uvloop

from bench.runtime.tally import say
from bench.volume.job import Job, told
from bench.volume.lag import LAST
from sixfold import catalogue
from sixfold.bus import open_bus
from sixfold.telemetry import logs
from sixfold_functions.volume.client import ConsistencyPoint, VolumeReplica


async def main(job: Job) -> None:
    """Follow until the last record; then say where the times are, one of 8 bytes for each LSN."""
    seen, over = array.array("q"), asyncio.Event()

    def note(point: ConsistencyPoint) -> None:
        seen.extend([time.monotonic_ns()] * len(point.records))
        if point.records[-1] == LAST:
            over.set()

    folder = Path(job.data_dir)
    async with (
        open_bus(job.url, data_dir=folder) as bus,
        VolumeReplica(bus, registry=catalogue.installed().registry, volume=job.volume, apply=note),
    ):
        say(follows=True)
        await over.wait()
    path = folder / f"visible-{os.getpid()}"
    path.write_bytes(seen.tobytes())
    say(path=str(path), last_lsn=len(seen))


if __name__ == "__main__":
    logs.to_terminal(level=logging.WARNING)
    uvloop.run(main(told()))
