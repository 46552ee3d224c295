"""The system as a whole, without its processes: what it makes before they start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.waiting import eventually

from sixfold import Context, Event, bus, catalogue, function, system
from sixfold.capability import Capability
from sixfold.supervisor import control, plan, tree


class Met(Event):
    """An event whose topic nobody declared."""

    name: str


@function(on=Met)
async def greet(event: Met, ctx: Context) -> None:
    """Take it."""


class Quiet:
    """Watches and says nothing."""

    def changed(self, status: control.SystemStatus) -> None: ...

    def started(self, status: control.SystemStatus) -> None: ...

    def stopping(self) -> None: ...


async def run(data_dir: Path, known: catalogue.Catalogue) -> None:
    """Start a system without processes, and stop it."""
    settings = plan.Settings(data_dir=data_dir, port=0, without=("gateway", "functions"))
    made = tree.Tree(settings, known, watch=Quiet())
    work = asyncio.create_task(made.run())
    await eventually(lambda: work.done() or system.read(data_dir), "it is up")
    made.stopping.set()
    await asyncio.wait_for(work, 30)


async def test_a_topic_that_nobody_declared_is_taken_as_it_is(tmp_path: Path) -> None:
    """A user's topic on a cluster has the partitions that somebody gave it; the rest is made."""
    async with bus.open_bus("embedded:", data_dir=tmp_path) as opened:
        await opened.create_topics([bus.TopicSpec(name="met", partitions=12)])
    await run(tmp_path, catalogue.Catalogue((catalogue.SYSTEM,), (greet,)))
    async with bus.open_bus("embedded:", data_dir=tmp_path) as opened:
        topics = await opened.topics()
    assert topics["met"].partitions == 12
    assert "greet.dlq" in topics


TOPICS = (bus.TopicSpec(name="met", partitions=3),)


async def test_a_declared_topic_with_other_partitions_stops_the_start(tmp_path: Path) -> None:
    """A capability counts on its partitions, so nothing runs on others."""
    async with bus.open_bus("embedded:", data_dir=tmp_path) as opened:
        await opened.create_topics([bus.TopicSpec(name="met", partitions=12)])
    declared = Capability(name="greeting", summary="", topics=f"{__name__}:TOPICS")
    with pytest.raises(bus.TopicConflictError):
        await run(tmp_path, catalogue.Catalogue((catalogue.SYSTEM, declared)))
