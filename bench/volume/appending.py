"""The process that appends: `python -m bench.volume.appending JOB`. The clients are coroutines beside the writer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from bench.load import percentile
from bench.runtime.tally import say
from bench.volume import meter, rates
from bench.volume.bare import BareFiles
from bench.volume.job import Job, told
from bench.volume.load import RECORD, Append, Load
from sixfold import catalogue
from sixfold.bus import open_bus
from sixfold.telemetry import logs
from sixfold_functions.volume.client import VolumeWriter, WriterSettings

PAGE = b"p" * 4096
FILL_PAGES = 1024
"""Records of one append that fills: 4 MiB, so that the writer makes batches that are as large as they may be."""
FILLING = 8
"""Such appends on the way."""
START_S = 90.0
"""For six processes that start on a busy machine."""


@contextlib.asynccontextmanager
async def written(job: Job) -> AsyncIterator[VolumeWriter]:
    """The volume's writer, in this process."""
    settings = WriterSettings(takeover_timeout_s=START_S, append_timeout_s=START_S)
    async with (
        open_bus(job.url, data_dir=Path(job.data_dir)) as bus,
        VolumeWriter(
            bus, registry=catalogue.installed().registry, name="bench", volume=job.volume, settings=settings
        ) as writer,
    ):
        yield writer


async def fill(writer: VolumeWriter, wanted_bytes: int) -> None:
    """Append pages until the volume has `wanted_bytes` more, rounded up to one append."""
    left = -(-wanted_bytes // (len(PAGE) * FILL_PAGES))

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await writer.append([PAGE] * FILL_PAGES)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(FILLING)))
    say(filled_bytes=wanted_bytes, seconds=time.perf_counter() - begun)


async def measure(append: Append, clients: int, job: Job) -> None:
    """Say what one load did, once its rate is level."""
    processes, syncs = {"writer": os.getpid(), **job.processes}, Path(job.syncs)
    async with Load(append, clients) as load:
        await rates.settle(load.look)
        used, first = meter.read(processes, syncs), await load.look()
        await asyncio.sleep(job.seconds)
        last = await load.look()
        used = meter.read(processes, syncs).since(used)
    took = load.took_ms[first.total : last.total]
    say(
        clients=clients,
        appends=len(took),
        per_s=rates.per_s(first, last),
        p50_ms=percentile(took, 0.5),
        p99_ms=percentile(took, 0.99),
        cpu_s=used.cpu_s,
        syncs=used.syncs,
    )


async def go_on(append: Append, clients: int, every_s: float) -> None:
    """Append until killed; say now and then what was acknowledged."""
    async with Load(append, clients) as load:
        while True:
            await asyncio.sleep(every_s)
            say(acknowledged=(await load.look()).total, last_lsn=load.last_lsn)


async def main(job: Job) -> None:
    """Do what `job` says."""
    logs.to_terminal(level=logging.WARNING)
    if not job.url:
        async with BareFiles(Path(job.data_dir)) as files:
            for clients in job.clients:
                await measure(files.append, clients, job)
        return
    async with written(job) as writer:

        async def append() -> int:
            return (await writer.append([RECORD])).last_lsn

        lsn = await append()
        say(first_lsn=lsn, at_s=time.monotonic())
        if job.fill_bytes:
            await fill(writer, job.fill_bytes)
        for clients in job.clients:
            if job.say_s:
                await go_on(append, clients, job.say_s)
            await measure(append, clients, job)


if __name__ == "__main__":
    uvloop.run(main(told()))
