"""A volume of real processes: zones stop, nodes and writers are killed, disks fill up."""

from __future__ import annotations

import asyncio
import functools
import random

import pytest
from tests.functions.volume.conftest import RealVolume, level
from tests.support.waiting import eventually

from sixfold_functions.volume.client import AppendResult, QuorumLostError, StaleWriterError, VolumeClient
from sixfold_functions.volume.core import layout

pytestmark = pytest.mark.timeout(400)


async def test_a_zone_may_stop_and_one_more_stops_writes_only(volume: RealVolume) -> None:
    """Writes survive a lost zone; with one more copy gone they fail with a clear message, and reads go on.

    Started again, the copies catch up with nothing lost.
    """
    async with volume.writer() as writer, volume.client() as client:
        first = await writer.append([b"one", b"two"])
        await asyncio.gather(volume.fleet.stop("a1"), volume.fleet.stop("a2"))
        second = await writer.append([b"three"])
        await volume.fleet.stop("b1")
        with pytest.raises(QuorumLostError) as lost:
            await writer.append([b"four"], timeout_s=2.0)
        assert lost.value.answering == ("b2", "c1", "c2")
        assert "3 of 6 copies answer (zone a: none; zone b: b2; zone c: c1, c2)" in str(lost.value)
        assert "sixfold volume start a b1" in str(lost.value)
        assert "may still become durable" in str(lost.value)
        found = await client.read(first.first_lsn, 10, timeout_s=10.0)
        assert found.payloads == [b"one", b"two", b"three"]
        assert (await client.status()).writable is False
        await asyncio.gather(*(volume.fleet.start(copy) for copy in ("a1", "a2", "b1")))
        fifth = await writer.append([b"five"])
        await eventually(lambda: level(volume, fifth.last_lsn), "all six copies are level", 90.0)

        async def holds(copy: str) -> bool:  # level already; that all of it is durable it may hear a moment later
            found = await client.read(second.first_lsn, 10, copy=copy, timeout_s=10.0)
            return found.payloads == [b"three", b"four", b"five"]

        for copy in layout.COPIES:
            await eventually(functools.partial(holds, copy), f"{copy} has what was written while it was away")


async def test_a_second_writer_fences_the_first_which_learns_why(volume: RealVolume) -> None:
    """The stale writer's waiting and later appends fail, naming the new one; what it had acknowledged stays."""
    async with volume.writer("first") as first:
        acknowledged = await first.append([b"kept"])
        async with volume.writer("second") as second:
            with pytest.raises(StaleWriterError, match=r"writer first .* was superseded by second") as stale:
                await first.append([b"too late"])
            assert stale.value.successor == "second"
            assert second.epoch > first.epoch
            later = await second.append([b"new"])
            assert later.first_lsn > acknowledged.last_lsn
            async with volume.client() as client:
                records = (await client.read(1, 1000, timeout_s=10.0)).payloads
            assert records[acknowledged.first_lsn - 1] == b"kept"
            assert records[later.first_lsn - 1] == b"new"


async def load(client: VolumeClient, name: str, told: dict[int, bytes], stop: asyncio.Event) -> None:
    """Append until told to stop; what was acknowledged goes into `told`."""
    number = 0
    while not stop.is_set():
        records = [f"{name}-{number}-{index}".encode() for index in range(3)]
        try:
            result: AppendResult = await client.append(records, timeout_s=60.0)
        except QuorumLostError:
            continue  # outcome unknown: nothing was promised
        told.update({result.first_lsn + index: data for index, data in enumerate(records)})
        number += 1


async def test_kill_nine_of_nodes_and_writers_under_load_loses_nothing_acknowledged(volume: RealVolume) -> None:
    """Copies and the writer's service are killed again and again; every acknowledged record is where it was said."""
    rng, told, stop = random.Random(4), dict[int, bytes](), asyncio.Event()
    await volume.fleet.start_writer()
    async with volume.client() as client:
        tasks = [asyncio.create_task(load(client, f"task{index}", told, stop)) for index in range(4)]
        await eventually(lambda: len(told) > 50, "the load runs", 120.0)
        for victims in (["writer"], ["a1", "b1"], ["writer", "c2"], ["c1", "c2"], ["writer", "a2"]):
            for name in victims:
                await volume.fleet.kill(name)
            reached = len(told)
            if "writer" not in victims:
                await eventually(lambda: len(told) > reached + 10, f"appends go on without {victims}", 120.0)  # noqa: B023
            for name in rng.sample(victims, len(victims)):
                await (volume.fleet.start_writer() if name == "writer" else volume.fleet.start(name))
            await eventually(lambda: len(told) > reached + 50, f"appends go on after {victims}", 120.0)  # noqa: B023
        stop.set()
        await asyncio.gather(*tasks)
        last_lsn = max(told)
        await eventually(lambda: level(volume, last_lsn), "all six copies are level", 120.0)
        for copy in ("a1", "b2", "c2"):
            payloads = (await client.read(1, last_lsn, copy=copy, timeout_s=30.0)).payloads
            assert {lsn: data for lsn, data in told.items() if payloads[lsn - 1] != data} == {}, copy
        assert len(set(payloads)) == len(payloads), "a request was appended twice"
