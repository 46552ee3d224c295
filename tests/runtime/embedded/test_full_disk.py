"""A full disk under the log: exactly the calls that do not fit fail, and it goes on once there is room."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import missing

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded.client import EmbeddedBus

PARTITION = port.TopicPartition("t", 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        missing(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def record(size: int, name: str = "v") -> port.NewRecord:
    """A record of about `size` bytes."""
    return port.NewRecord("t", name.encode() + bytes(size), partition=0)


async def fill(bus: port.Bus) -> int:
    """Publish until the disk is full; how many records were stored."""
    stored = 0
    while True:
        try:
            await bus.publish([record(100_000), record(100_000)])
        except port.StorageFullError:
            return stored
        stored += 2


async def test_a_full_disk_fails_the_calls_that_do_not_fit_and_nothing_of_them_is_stored(small_disk: Path) -> None:
    """StorageFullError; what was acknowledged stays readable; after room is made everything works again."""
    async with EmbeddedBus(small_disk / "bus", clock=clocks.SystemClock()) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(1_500_000))
        stored = await fill(bus)
        assert stored > 2
        assert (await bus.offsets(PARTITION)).end == stored
        async with bus.assign([PARTITION], group="g") as consumer:
            big = {("table", 0): {b"%d" % part: bytes(900_000) for part in range(4)}}
            with pytest.raises(port.StorageFullError):
                await consumer.settle(offsets={PARTITION: 1}, state=big, records=[record(100)])
            assert (await bus.committed("g"), await consumer.state_scan("table", 0)) == ({}, [])
            read = 0
            while read < stored:
                read += len((await consumer.fetch(wait_s=5.0))[PARTITION])

        ballast.unlink()
        positions = await bus.publish([record(100_000)])
        assert positions[0].offset == (await bus.offsets(PARTITION)).end - 1
        async with bus.assign([PARTITION], group="g") as consumer:
            await consumer.settle(offsets={PARTITION: 2}, state={("table", 0): {b"key": b"small"}})
            assert await consumer.state_get("table", 0, b"key") == b"small"
    async with EmbeddedBus(small_disk / "bus", clock=clocks.SystemClock()) as bus:
        assert (await bus.offsets(PARTITION)).end == positions[0].offset + 1
        assert await bus.committed("g") == {PARTITION: 2}


async def test_a_call_that_fits_passes_beside_one_that_does_not(small_disk: Path) -> None:
    """Calls that were committed together fail apart: a large one cannot take the small ones with it."""
    async with EmbeddedBus(small_disk / "bus", clock=clocks.SystemClock()) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        big = [record(900_000, f"big{part}") for part in range(6)]
        results = await asyncio.gather(
            bus.publish([record(10, "before")]),
            bus.publish(big),
            bus.publish([record(10, "after")]),
            return_exceptions=True,
        )
        assert isinstance(results[1], port.StorageFullError)
        assert [found for found in results if isinstance(found, BaseException)] == [results[1]]
        async with bus.assign([PARTITION]) as consumer:
            read = (await consumer.fetch(wait_s=5.0))[PARTITION]
        assert [(found.value or b"").strip(b"\0") for found in read] == [b"before", b"after"]


async def test_a_bus_that_cannot_be_made_for_lack_of_room_says_so(small_disk: Path) -> None:
    """Opening on a full disk is a clear error, and works once there is room."""
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(5_000_000))
    with pytest.raises((port.StorageFullError, port.BusUnavailableError)):
        async with EmbeddedBus(small_disk / "bus", clock=clocks.SystemClock()):
            pass
    ballast.unlink()
    async with EmbeddedBus(small_disk / "bus", clock=clocks.SystemClock()) as bus:
        assert await bus.topics() == {}
