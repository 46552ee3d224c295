"""One storage node's disk fails; the volume goes on. Embedded bus only: the bus has no part in it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.functions.volume.conftest import RealVolume, level
from tests.support import buses, disks
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place(tmp_path: Path) -> buses.Place:
    """The embedded bus."""
    return buses.Place("embedded:", tmp_path)


async def restart(volume: RealVolume, copy: str) -> int:
    """Start `copy`, which is expected to end by itself; its exit code."""
    await volume.fleet.start(copy)
    async with asyncio.timeout(60):
        return await volume.fleet.processes[copy].wait()


async def test_damage_in_the_middle_of_a_log_stops_that_node_with_a_clear_message(volume: RealVolume) -> None:
    """Where it was set aside before: it ends with what to do; the other five go on; then it begins anew and is level."""
    async with volume.writer() as writer:
        for number in range(20):
            await writer.append([f"record {number}".encode() * 20])
        await volume.fleet.stop("b2")
        segment = next(volume.folder("b2").glob("*.seg"))
        with segment.open("r+b") as file:
            file.seek(segment.stat().st_size // 2)
            file.write(b"rot")
        earlier = volume.folder("b2").with_name("b2.damaged-1")
        earlier.mkdir()
        assert await restart(volume, "b2") == 1
        assert "the disk did not keep what was fsynced" in volume.fleet.log_of("b2")
        assert f"move {volume.folder('b2')} away" in " ".join(volume.fleet.log_of("b2").split())
        await writer.append([b"the other five go on"])
        earlier.rmdir()
        await volume.fleet.stop("b2")
        await volume.fleet.start("b2")
        last = await writer.append([b"all six"])
        await eventually(lambda: level(volume, last.last_lsn), "the copy is level again", 90.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with disks.small(tmp_path / "small", size="256k") as folder:
        yield folder


async def test_a_full_disk_ends_its_node_cleanly_and_the_other_five_go_on(volume: RealVolume, small_disk: Path) -> None:
    """The message names the folder and what to do; once there is room the copy catches up with nothing lost."""
    async with volume.writer() as writer:
        await writer.append([b"first"])
        await volume.fleet.stop("c1")
        shutil.move(volume.folder("c1"), small_disk / "c1")
        volume.folder("c1").symlink_to(small_disk / "c1")
        await volume.fleet.start("c1")
        for _ in range(20):
            last = await writer.append([b"x" * 20_000])
        async with asyncio.timeout(60):
            assert await volume.fleet.processes["c1"].wait() == 1
        said = " ".join(volume.fleet.log_of("c1").split())
        assert "no room in" in said
        assert "make room, then start it again" in said
        last = await writer.append([b"the other five go on"])
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        await volume.fleet.stop("c1")
        await volume.fleet.start("c1")
        await eventually(lambda: level(volume, last.last_lsn), "the copy has caught up", 90.0)
