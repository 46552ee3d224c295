"""A volume of two groups as processes, on the embedded bus and on Kafka: zones are lost, writers follow each other."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import pytest
from tests.functions.volume.conftest import START_S
from tests.support import buses, naming

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.bus import open_bus, port
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.errors import QuorumLostError, StaleWriterError
from sixfold_functions.volume.fleet import Fleet
from sixfold_functions.volume.groups import plans
from sixfold_functions.volume.groups.client import GroupedClient
from sixfold_functions.volume.groups.replica import GroupedReplica
from sixfold_functions.volume.groups.writer import GroupedWriter
from sixfold_functions.volume.settings import WriterSettings

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
REGISTRY = catalogue.installed().registry


def writer_of(bus: port.Bus, plan: Plan, name: str) -> GroupedWriter:
    """With patience for a busy machine."""
    settings = WriterSettings(takeover_timeout_s=START_S, append_timeout_s=60.0)
    return GroupedWriter(bus, plan, registry=REGISTRY, name=name, settings=settings)


@contextlib.asynccontextmanager
async def running(place: buses.Place, bus: port.Bus, plan: Plan) -> AsyncIterator[list[Fleet]]:
    """The copies of all groups."""
    async with contextlib.AsyncExitStack() as stack:
        fleets = [Fleet(place.data_dir, bus_url=place.url, volume=plan.volume_of(number)) for number in plan.numbers]
        for fleet in fleets:
            await stack.enter_async_context(fleet)
        yield fleets


async def test_appends_go_on_without_a_zone_and_what_was_acknowledged_outlives_a_takeover(
    place: buses.Place, names: naming.Names
) -> None:
    """One zone of each group is killed, a writer follows in the middle of appends, and a replica sees the whole of it."""
    plan = Plan(volume=names("o"), groups=2, stripe=3)
    told: dict[int, bytes] = {}
    seen: list[ConsistencyPoint] = []
    async with open_bus(place.url, data_dir=place.data_dir) as bus:
        await plans.create(bus, REGISTRY, plan, clock=clocks.SystemClock())
        async with (
            running(place, bus, plan) as fleets,
            GroupedReplica(bus, plan, registry=REGISTRY, apply=seen.append) as replica,
            writer_of(bus, plan, "first") as first,
        ):

            async def appends(name: str) -> None:
                with contextlib.suppress(StaleWriterError, QuorumLostError):
                    for number in range(10_000):
                        records = [f"{name}-{number}-{each}".encode() for each in range(number % 4 + 1)]
                        done = await first.append(records)
                        told.update(zip(range(done.first_lsn, done.last_lsn + 1), records, strict=True))

            clients = [asyncio.create_task(appends(f"client{number}")) for number in range(8)]
            await replica.reached(100, timeout_s=60.0)
            for fleet, zone in zip(fleets, "ab", strict=True):
                for copy in (f"{zone}1", f"{zone}2"):
                    fleet.processes[copy].send_signal(signal.SIGKILL)
            before = max(told)
            await replica.reached(before + 100, timeout_s=60.0)
            async with writer_of(bus, plan, "second") as second:
                await asyncio.gather(*clients)
                assert second.durable_lsn >= max(told)
                last = await second.append([b"last"])
                await replica.reached(last.last_lsn, timeout_s=60.0)
                async with GroupedClient(bus, plan, registry=REGISTRY) as client:
                    read = (await client.read(1, last.last_lsn, timeout_s=30.0)).payloads
        if place.is_kafka:
            await names.delete_all(place)
    assert len(read) == last.last_lsn
    assert {lsn: read[lsn - 1] for lsn in told} == told
    assert [record for point in seen for record in point.records] == read
    assert [point.last_lsn for point in seen][-1] == last.last_lsn
