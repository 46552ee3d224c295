"""A copy is replaced while appends go on: by real services, on the embedded bus and on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.conftest import RealVolume
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold import errors
from sixfold_functions.volume import replacing, roster
from sixfold_functions.volume.client import QuorumLostError, RequestRefusedError, VolumeClient, WriterSettings
from sixfold_functions.volume.core import layout

pytestmark = pytest.mark.timeout(400)
PATIENT = WriterSettings(append_timeout_s=60.0, takeover_timeout_s=60.0)


async def load(client: VolumeClient, told: dict[int, bytes], stop: asyncio.Event) -> None:
    """Append until told to stop; what was acknowledged goes into `told`."""
    number = 0
    while not stop.is_set():
        data = f"record {number}".encode()
        try:
            told[(await client.append([data], timeout_s=60.0)).first_lsn] = data
        except QuorumLostError:
            continue  # outcome unknown: nothing was promised
        number += 1


def is_over(client: VolumeClient, copy: str) -> Callable[[], bool]:
    """Whether the volume is settled with `copy` as a member and no change under way."""
    return lambda: client.membership.settled and client.membership.change is None and copy in client.membership.members


async def test_a_copy_is_replaced_under_appends_and_the_old_one_ends(tmp_path: Path) -> None:
    """The new one gets everything; the old one's process returns by itself, and does so again when it is started."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=PATIENT) as writer, volume.client() as client:
            for number in range(50):
                await writer.append([f"before {number}".encode()])
            begun = await replacing.begin(client, "a2", undo=False, timeout_s=30.0)
            assert (begun.replacement, begun.version) == ("a3", 1)
            with pytest.raises(RequestRefusedError, match=r"(is being replaced by a3 already|has not stored)"):
                await client.replace("b1")
            status = await client.status()
            assert (status.replaced, status.replacement, len(status.copies)) == ("a2", "a3", 7)
            await volume.start("a3")
            last = await writer.append([b"meanwhile"])
            await eventually(is_over(client, "a3"), "the replacement is complete", 60.0)
            assert client.membership.members == ("a1", "b1", "b2", "c1", "c2", "a3")
            await eventually(lambda: volume.ended("a2"), "the old copy ends", 60.0)
            last = await writer.append([b"after"])
            await eventually(lambda: volume.is_level(last.last_lsn), "all are level")

            async def whole() -> bool:
                found = (await client.read(1, 1000, copy="a3", timeout_s=10.0)).payloads
                return found == [*(f"before {number}".encode() for number in range(50)), b"meanwhile", b"after"]

            await eventually(whole, "the new copy has everything")
            with pytest.raises(RequestRefusedError, match="a2 is no member any more"):
                await client.replace("a2")
            with pytest.raises(errors.UsageError, match="is no copy of volume default; expected one of a1, b1"):
                await replacing.begin(client, "a2", undo=False, timeout_s=30.0)
        await volume.start("a2")
        await eventually(lambda: volume.ended("a2"), "it ends again")
        assert await roster.current(volume.bus, volume.registry) == [
            {"copy": copy} for copy in ("a1", "b1", "b2", "c1", "c2", "a3")
        ]
        async with volume.writer("next", PATIENT) as following:
            assert following.recovery.membership.version == 2
            assert (await following.append([b"by the next writer"])).first_lsn == last.last_lsn + 1


async def test_a_replacement_is_undone_and_a_lost_quorum_refuses_one(tmp_path: Path) -> None:
    """Back to the six; the copy that was to come ends. Without four nothing is begun."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=PATIENT) as writer, volume.client() as client:
            await writer.append([b"one"])
            with pytest.raises(RequestRefusedError, match="c2 is not being replaced"):
                await client.replace("c2", undo=True)
            begun = await replacing.begin(client, "c2", undo=False, timeout_s=30.0)
            assert begun.replacement == "c3"

            async def undone() -> bool:
                try:
                    await client.replace("c2", undo=True)
                except RequestRefusedError:
                    return False  # a quorum has not stored the first step yet
                return True

            await eventually(undone, "the undoing is taken")
            back = replacing.Replaced(
                volume="default", copy="c2", replacement="c3", undone=True, complete=False, version=2, members=[]
            )
            done = await replacing.watch(client, back, clock=clocks.SystemClock())
            assert (done.complete, done.members) == (True, list(layout.COPIES))
            await volume.start("c3")
            await eventually(lambda: volume.ended("c3"), "the copy that was not needed ends")
            await volume.stop("a1", "a2", "b1")
            with pytest.raises(QuorumLostError, match=r"c1 cannot be replaced: 3 of 6 .* Nothing was changed"):
                await replacing.begin(client, "c1", undo=False, timeout_s=30.0)


async def test_the_writer_is_killed_amid_a_replacement_under_appends(volume: RealVolume) -> None:
    """Real processes, both buses: the next writer goes on with it, and nothing acknowledged is lost."""
    fleet, told, stop = volume.fleet, dict[int, bytes](), asyncio.Event()
    await fleet.start_writer()
    async with volume.client() as client:
        task = asyncio.create_task(load(client, told, stop))
        await eventually(lambda: len(told) > 20, "the load runs", 120.0)
        await fleet.kill("b1")
        begun = await replacing.begin(client, "b1", undo=False, timeout_s=60.0)
        await fleet.kill("writer")
        await fleet.start(begun.replacement)
        await fleet.start_writer()
        await eventually(is_over(client, "b3"), "the replacement is complete", 120.0)
        reached = len(told)
        await eventually(lambda: len(told) > reached + 20, "appends go on", 120.0)
        stop.set()
        await task
        await fleet.start("b1")

        async def ended() -> bool:
            return fleet.processes["b1"].returncode == 0

        await eventually(ended, "the old copy learns that it was replaced", 60.0)

        async def whole() -> bool:
            found = (await client.read(1, max(told), copy="b3", timeout_s=30.0)).payloads
            return len(found) == max(told) and all(found[lsn - 1] == data for lsn, data in told.items())

        await eventually(whole, "the new copy has every acknowledged record", 60.0)
