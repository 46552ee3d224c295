"""A read replica beside a volume of real processes: the writer and the copy that it follows are killed."""

from __future__ import annotations

import asyncio

import pytest
from tests.functions.volume.conftest import RealVolume, level
from tests.functions.volume.test_processes import load
from tests.support.waiting import eventually

from sixfold import catalogue
from sixfold_functions.volume.client import ConsistencyPoint, VolumeReplica

pytestmark = pytest.mark.timeout(400)


async def test_a_replica_goes_on_over_kill_nine_of_the_writer_and_of_the_copy_it_follows(volume: RealVolume) -> None:
    """It has every record once, in order, as the copies have them; what a client was told is visible soon after."""
    points: list[ConsistencyPoint] = []
    told, stop = dict[int, bytes](), asyncio.Event()
    await volume.fleet.start_writer()
    registry = catalogue.installed().registry
    async with (
        volume.client() as client,
        VolumeReplica(volume.bus, registry=registry, volume=volume.name, apply=points.append, name="r1") as replica,
    ):
        tasks = [asyncio.create_task(load(client, f"task{index}", told, stop)) for index in range(2)]
        await eventually(lambda: len(told) > 30, "the load runs", 120.0)
        for victim in ("writer", replica.copy):
            await volume.fleet.kill(victim)
            await (volume.fleet.start_writer() if victim == "writer" else volume.fleet.start(victim))
            reached = len(told)
            await eventually(lambda: len(told) > reached + 30, f"appends go on after {victim}", 120.0)  # noqa: B023
            await replica.reached(max(told), timeout_s=60.0)
        assert [each.replica for each in (await client.status()).replicas] == ["r1"]
        stop.set()
        await asyncio.gather(*tasks)
        last_lsn = max(told)
        await replica.reached(last_lsn, timeout_s=60.0)
        applied = [record for point in points for record in point.records]
        assert {lsn: data for lsn, data in told.items() if applied[lsn - 1] != data} == {}
        assert {len(point.records) for point in points} == {3}, "each append was applied at once"
        await eventually(lambda: level(volume, last_lsn), "all six copies are level", 120.0)
        stored = (await client.read(1, last_lsn, timeout_s=30.0)).payloads
        assert applied[:last_lsn] == stored
