"""A volume inside one process: the storage and writer services as tasks, on a real embedded bus with real folders."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from tests.support import buses

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.process import Process
from sixfold_functions.volume import requests, storage
from sixfold_functions.volume.client import VolumeClient, VolumeWriter, WriterSettings
from sixfold_functions.volume.core import layout


class InsideVolume:
    """Services by name: the six copies, and `writer`."""

    def __init__(self, bus: port.Bus, data_dir: Path, name: str = layout.DEFAULT_VOLUME) -> None:
        self.bus = bus
        self.name = name
        self.data_dir = data_dir
        self.registry = catalogue.installed().registry
        self.options: dict[str, str] = {}
        """Further options of the copies."""
        self._running: dict[str, tuple[Process, asyncio.Task[None]]] = {}

    async def start(self, *names: str) -> None:
        """Start services; returns once each is ready. Raises what made one end instead."""
        await asyncio.gather(*(self._start(name) for name in names))

    async def _start(self, name: str) -> None:
        ready = asyncio.Event()
        process = Process(
            name=name,
            data_dir=self.data_dir,
            registry=self.registry,
            bus=self.bus,
            options={"volume": self.name} | ({} if name == "writer" else {"copy": name, **self.options}),
            ready=ready.set,
        )
        run = requests.run if name == "writer" else storage.run
        task = asyncio.create_task(run(process), name=name)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()  # or it has nothing to do any more
        self._running[name] = process, task

    async def run_to_end(self, name: str) -> None:
        """Run a copy until it ends by itself. Raises what made it."""
        process = Process(
            name=name,
            data_dir=self.data_dir,
            registry=self.registry,
            bus=self.bus,
            options={"volume": self.name, "copy": name},
        )
        await storage.run(process)

    async def stop(self, *names: str) -> None:
        """Stop services as a SIGTERM would."""
        for name in names:
            process, task = self._running.pop(name)
            process.stopping.set()
            await asyncio.gather(task, return_exceptions=True)

    def ended(self, name: str) -> bool:
        """Whether a service returned by itself, for good."""
        process, task = self._running[name]
        return task.done() and task.exception() is None and process.finished

    async def close(self) -> None:
        await self.stop(*self._running)

    def folder(self, copy: str) -> Path:
        """Where the copy's log lies."""
        return storage.folder_of(self.data_dir, self.name, copy)

    async def lose(self, copy: str) -> None:
        """Stop a copy and take its folder away, as the damage messages advise."""
        await self.stop(copy)
        shutil.rmtree(self.folder(copy))

    def writer(self, name: str = "test", settings: WriterSettings | None = None) -> VolumeWriter:
        """A writer, without the service."""
        return VolumeWriter(self.bus, registry=self.registry, name=name, volume=self.name, settings=settings)

    def client(self, clock: clocks.Clock | None = None) -> VolumeClient:
        return VolumeClient(self.bus, registry=self.registry, volume=self.name, clock=clock)

    async def is_level(self, last_lsn: int) -> bool:
        """Whether all six copies are up and hold everything up to `last_lsn`."""
        async with self.client() as client:
            status = await client.status()
        return all(copy.state == "up" and copy.complete_lsn >= last_lsn for copy in status.copies)


@contextlib.asynccontextmanager
async def opened(
    data_dir: Path, *specs: port.TopicSpec, name: str = layout.DEFAULT_VOLUME
) -> AsyncIterator[InsideVolume]:
    """A volume whose services do not run yet; `specs` are topics that are made before it makes its own."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with buses.open_bus(buses.Place("embedded:", data_dir)) as bus:
        await bus.create_topics(specs)
        volume = InsideVolume(bus, data_dir, name)
        try:
            yield volume
        finally:
            await volume.close()
