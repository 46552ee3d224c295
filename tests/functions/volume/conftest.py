"""Real volumes: six storage nodes as processes, on the embedded bus and on Kafka."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.volume.encrypted import grown, rewrite_all, rotate
from tests.simulation.world import World
from tests.support import buses, naming

from sixfold import catalogue
from sixfold.bus import open_bus, port
from sixfold_functions.volume.client import VolumeClient, VolumeWriter, WriterSettings
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.fleet import Fleet

START_S = 90.0
"""Six Python processes on a busy machine."""


@dataclasses.dataclass
class RealVolume:
    """A volume of processes, and ways to it."""

    name: str
    bus: port.Bus
    fleet: Fleet
    data_dir: Path

    def writer(self, name: str = "test", **settings: float) -> VolumeWriter:
        """A writer in this process."""
        given = {"takeover_timeout_s": START_S, "append_timeout_s": 30.0, **settings}
        return VolumeWriter(
            self.bus,
            registry=catalogue.installed().registry,
            name=name,
            volume=self.name,
            settings=WriterSettings(**given),  # type: ignore[arg-type]
        )

    def client(self) -> VolumeClient:
        """A client that appends through the log."""
        return VolumeClient(self.bus, registry=catalogue.installed().registry, volume=self.name)

    def folder(self, copy: str) -> Path:
        """Where the copy's log lies."""
        return self.data_dir / "volume" / self.name / copy


@pytest.fixture
async def volume(place: buses.Place, names: naming.Names) -> AsyncIterator[RealVolume]:
    """Six running copies of a volume of its own; no writer yet."""
    name = names("v")
    async with open_bus(place.url, data_dir=place.data_dir) as bus:
        async with Fleet(place.data_dir, bus_url=place.url, volume=name) as fleet:
            yield RealVolume(name, bus, fleet, place.data_dir)
        if place.is_kafka:
            await names.delete_all(place)


async def level(volume: RealVolume, last_lsn: int) -> bool:
    """Whether all six copies answer and hold everything up to `last_lsn`."""
    async with volume.client() as client:
        status = await client.status()
    return status.answering == len(layout.COPIES) and all(copy.complete_lsn >= last_lsn for copy in status.copies)


@pytest.fixture(params=["fresh", "written anew"])
def full(request: pytest.FixtureRequest) -> World:
    """A copy with full segments, of frames or of chunks."""
    world = grown()
    if request.param == "written anew":
        rotate(world)
        rewrite_all(world)
        rotate(world, reencrypt=False)
    return world
