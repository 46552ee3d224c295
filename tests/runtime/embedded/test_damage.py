"""A log that is damaged under a running bus: everybody who wants something of it is told so, and nobody tries for ever."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import apsw
import pytest
from tests.runtime.embedded.power import Disk
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import batches, buffer, schema, settings, wire
from sixfold.bus.embedded.client import EmbeddedBus

CLOCK = clocks.SystemClock()
PARTITION = port.TopicPartition("t", 0)
ANSWER_S = 10.0
"""Generous for a busy machine; each of these answers takes milliseconds."""


def record(text: str, size: int = 100_000) -> port.NewRecord:
    """A record that fills pages."""
    return port.NewRecord("t", text.encode() + bytes(size), key=text.encode(), partition=0)


async def make(folder: Path, cleanup: port.Cleanup = port.Cleanup.DELETE) -> None:
    """A log of some megabytes, closed in order."""
    async with EmbeddedBus(folder, clock=CLOCK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1, cleanup=cleanup)])
        for number in range(40):
            await bus.publish([record(f"k{number % 3}")])


def damage(folder: Path) -> None:
    """Overwrite the middle of the file, which opening it does not read."""
    path = folder / schema.FILE_NAME
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xa5" * (size // 3))


async def read_on(consumer: port.Consumer) -> None:
    """Fetch until it fails."""
    while True:
        await consumer.fetch(wait_s=1.0)


def says_what_to_do(folder: Path) -> str:
    """What the error must match: the file, and the ways out."""
    return f"{re.escape(str(folder / schema.FILE_NAME))} is damaged.*restore it from a copy, or move it away"


async def test_damage_met_by_a_reader_is_told_to_everybody_and_no_owner_follows_the_other(folder: Path) -> None:
    """Reader, publisher, group member and a second process get an error that names the file, each time they ask."""
    await make(folder)
    damage(folder)
    message = says_what_to_do(folder)
    async with (
        EmbeddedBus(folder, clock=CLOCK) as owner,
        EmbeddedBus(folder, clock=CLOCK) as other,
        asyncio.timeout(ANSWER_S),
        other.assign([PARTITION]) as reader,
        other.assign([PARTITION]) as waiting,
    ):
        await waiting.seek(PARTITION, (await other.offsets(PARTITION)).end)
        long_poll = asyncio.create_task(waiting.fetch(wait_s=60.0))
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(port.BusError, match=message):
                await read_on(reader)
        with pytest.raises(port.BusError, match=message):
            await long_poll
        for bus in (owner, other):
            with pytest.raises(port.BusError, match=message):
                await bus.publish([record("more")])
            with pytest.raises(port.BusError, match=message):
                async with bus.subscribe("g", ["t"]):
                    pass
        assert (owner.owner, other.owner) == (True, False)


async def test_damage_met_by_housekeeping_is_told_to_everybody(folder: Path) -> None:
    """Compaction finds it before any reader does: the next call says so, and the owner stays the owner."""
    await make(folder, port.Cleanup.COMPACT)
    damage(folder)
    tidy = settings.Settings(housekeeping_s=0.01, dirty_ratio_min=0.0)
    async with EmbeddedBus(folder, clock=CLOCK, settings=tidy) as bus:

        async def told() -> bool:
            try:
                await bus.topics()
            except port.BusError as error:
                return "is damaged" in str(error)
            return False

        await eventually(told, "the damage is told", ANSWER_S)
        assert bus.owner


class UnreadableDisk(Disk):
    """A disk that takes writes and gives nothing back once `failing` is set."""

    failing = False

    def content(self, name: str) -> bytearray:
        if self.failing and name == schema.FILE_NAME:
            error = apsw.IOError("the disk does not answer")
            error.extendedresult = apsw.SQLITE_IOERR_READ  # type: ignore[attr-defined]
            raise error
        return super().content(name)


async def test_a_disk_that_cannot_be_read_any_more_is_told_to_everybody(folder: Path) -> None:
    """EIO under a reader is an answer for it and for every later call, not an owner that starts again and again."""
    disk = UnreadableDisk("unreadable")
    small = settings.Settings(vfs=disk.name, checkpoint_pages=10)
    async with EmbeddedBus(folder, clock=CLOCK, settings=small) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        for number in range(20):  # in all more than SQLite keeps in memory
            await bus.publish([record(f"k{number}") for _ in range(20)])
        disk.failing = True
        async with asyncio.timeout(ANSWER_S):
            with pytest.raises(port.BusError, match="is damaged"):
                async with bus.assign([PARTITION]) as reader:  # the owner's own housekeeping may have met it already
                    await read_on(reader)
            with pytest.raises(port.BusError, match="is damaged"):
                await bus.topics()
        assert bus.owner


def test_a_batch_that_cannot_be_decoded_is_met_again_and_never_skipped() -> None:
    """What lies before it is given out; then every take raises with the place, until a seek goes past it."""
    one = buffer.Buffer(PARTITION, 1, 0)
    good = batches.payload([batches.encode_record(port.NewRecord("t", b"good"), 1)])
    for offset, payload in enumerate((good, b"\xa5" * 20, good)):
        one.add(wire.Stored(1, offset, offset, payload))
    assert [each.offset for each in one.take(10)] == [0]
    for _ in range(2):
        with pytest.raises(port.BusError, match=r"t:0 cannot be read from offset 1 to 1.*seek to 2"):
            one.take(10)
    one.seek(2)
    one.add(wire.Stored(1, 2, 2, good))
    assert [each.offset for each in one.take(10)] == [2]
