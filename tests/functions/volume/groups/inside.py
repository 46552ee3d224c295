"""A volume of several groups inside one process: each group's copies and the writer as services, on a real embedded bus."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from tests.functions.volume.inside import InsideVolume
from tests.support import buses

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups import plans
from sixfold_functions.volume.groups.writer import GroupedWriter
from sixfold_functions.volume.settings import WriterSettings


class InsideGroups:
    """The groups' copies run once `start` was called."""

    def __init__(self, bus: port.Bus, data_dir: Path, plan: Plan) -> None:
        self.bus = bus
        self.plan = plan
        self.groups = {number: InsideVolume(bus, data_dir, plan.volume_of(number)) for number in plan.numbers}
        self.whole = InsideVolume(bus, data_dir, plan.volume)
        self.registry = self.whole.registry

    async def start(self) -> None:
        """All copies of all groups."""
        for group in self.groups.values():
            await group.start(*layout.COPIES)

    def writer(self, name: str = "test", settings: WriterSettings | None = None) -> GroupedWriter:
        """A writer, without the service."""
        return GroupedWriter(self.bus, self.plan, registry=self.registry, name=name, settings=settings)

    async def close(self) -> None:
        await self.whole.close()
        for group in self.groups.values():
            await group.close()


@contextlib.asynccontextmanager
async def opened(data_dir: Path, plan: Plan) -> AsyncIterator[InsideGroups]:
    """A volume with `plan` whose copies run."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with buses.open_bus(buses.Place("embedded:", data_dir)) as bus:
        volume = InsideGroups(bus, data_dir, plan)
        await plans.create(bus, volume.registry, plan, clock=clocks.SystemClock())
        try:
            await volume.start()
            yield volume
        finally:
            await volume.close()
