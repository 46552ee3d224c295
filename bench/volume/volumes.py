"""A volume as it is measured: six storage nodes as processes, their fsyncs counted, and the process that appends."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from bench.runtime.lab import Lab
from bench.runtime.sides import ROOT, Running, started
from bench.volume import counted
from bench.volume.job import Job
from sixfold.bus import Bus
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.fleet import Fleet

REDO_BYTES = 64 * 1024 * 1024
"""Redo that the topic keeps per copy. What copies have fsynced they do not read again, and the disk is for them."""


class Volume:
    """One volume on `bus`, its copies in `data_dir`. `volume()` makes and removes it."""

    def __init__(self, bus: Bus, data_dir: Path, name: str, *, broker: int | None = None) -> None:
        self.name = name
        self._bus = bus
        self._data_dir = data_dir
        self._syncs = data_dir / "syncs"
        self._broker = broker
        """The pid of the broker, or of the embedded bus's owner, where it is ours."""
        self._fleet: Fleet | None = None

    async def create(self) -> None:
        """Make its topics."""
        redo = layout.topics(self.name).redo
        await self._bus.create_topics(
            [
                msgspec.structs.replace(spec, retention_bytes=REDO_BYTES) if spec.name == redo else spec
                for spec in topics.specs(self.name)
            ]
        )

    @contextlib.asynccontextmanager
    async def copies(self) -> AsyncIterator[Fleet]:
        """The six processes."""
        async with Fleet(
            self._data_dir,
            bus_url=self._bus.url,
            volume=self.name,
            environment={counted.FOLDER: str(self._syncs), "PYTHONPATH": str(ROOT)},
            program=(sys.executable, "-m", "bench.volume.counted"),
        ) as self._fleet:
            yield self._fleet

    def job(self, **more: Any) -> Job:
        """What its writer's process is told; it reads the processor time of the copies and of the broker as well."""
        processes = {name: process.pid for name, process in self._fleet.processes.items()} if self._fleet else {}
        if self._broker is not None:
            processes["broker"] = self._broker
        return Job(
            data_dir=str(self._data_dir),
            url=self._bus.url,
            volume=self.name,
            processes=processes,
            syncs=str(self._syncs),
            **more,
        )

    @contextlib.asynccontextmanager
    async def writing(self, **more: Any) -> AsyncIterator[tuple[Running, dict[str, Any]]]:
        """The process that does such a job, and what it said of its first append."""
        async with started(self.job(**more).command()) as running:
            yield running, await running.said()

    async def remove(self) -> None:
        """Leave nothing of it."""
        for spec in topics.specs(self.name):
            await self._bus.delete_topic(spec.name)
        shutil.rmtree(self._data_dir / "volume" / self.name, ignore_errors=True)


@contextlib.asynccontextmanager
async def volume(bus: Bus, data_dir: Path, name: str, *, broker: int | None = None) -> AsyncIterator[Volume]:
    """A new volume, removed at the end of the block."""
    made = Volume(bus, data_dir, name, broker=broker)
    await made.create()
    try:
        yield made
    finally:
        await made.remove()


def volume_name(lab: Lab, what: str) -> str:
    """A name for a volume that nobody used before; volumes' names have no dots."""
    return lab.name(what).replace(".", "-")
