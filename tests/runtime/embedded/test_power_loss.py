"""A power loss takes what was not fsynced; what was acknowledged was."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.runtime.embedded.power import Disk, Machine
from tests.runtime.embedded.processes import until

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import settings
from sixfold.bus.embedded.client import EmbeddedBus

PARTITION = port.TopicPartition("t", 0)
GROUP = "g"
LOSSES = 12


class LostError(Exception):
    """Something acknowledged is gone."""


def open_bus(folder: Path, disk: Disk) -> EmbeddedBus:
    """A bus whose log is on `disk`; checkpoints come often, so that losses fall into them too."""
    return EmbeddedBus(
        folder, clock=clocks.SystemClock(), settings=settings.Settings(vfs=disk.name, checkpoint_pages=40)
    )


async def check(folder: Path, disk: Disk, acknowledged: list[bytes], committed: int) -> None:
    """Start again on what the power loss left; raises LostError, or what the bus says to a file that it cannot use."""
    async with open_bus(folder, disk) as bus:
        if "t" not in await bus.topics():
            raise LostError("the topic")
        end = (await bus.offsets(PARTITION)).end
        found: list[port.Record] = []
        async with bus.assign([PARTITION]) as consumer:
            while len(found) < end:
                found += (await consumer.fetch(wait_s=5.0))[PARTITION]
        assert [record.offset for record in found] == list(range(end)), "offsets have gaps"
        values = Counter(record.value for record in found)
        if missing := [value for value in acknowledged if not values[value]]:
            raise LostError(f"{len(missing)} acknowledged records")
        offset = (await bus.committed(GROUP)).get(PARTITION, 0)
        if offset < committed:
            raise LostError(f"a commit: {offset} instead of {committed}")
        async with bus.assign([PARTITION], group=GROUP) as consumer:
            row = await consumer.state_get("table", 0, b"key")
        assert int(row or b"0") == offset, "state and the offset that it reflects are stored together"
        # And it takes new records as before.
        assert (await bus.publish([port.NewRecord("t", b"new", partition=0)]))[0].offset == end


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose disks know which folders were fsynced."""
    made = Machine()
    monkeypatch.setattr(os, "fsync", made.fsync)
    return made


async def lose_power(machine: Machine, tmp_path: Path, shares: Sequence[float], *, honest: bool) -> None:
    """Publish and commit, lose the power at several moments, and check what each of them left.

    At each moment once for each of `shares`: how much of what was not fsynced is there all the same.
    """
    chance = random.Random(7)
    disk = machine.disk("before", tmp_path / "bus")
    async with open_bus(tmp_path / "bus", disk) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        disk.honest = honest
        acknowledged: list[bytes] = []
        committed = 0
        going = asyncio.Event()  # not while a loss is looked at, or the log grows all the time

        async def publish(number: int) -> None:
            for sequence in itertools.count():
                await going.wait()
                value = b"%d/%d/" % (number, sequence) + bytes(300 * number)
                await bus.publish([port.NewRecord("t", value, partition=0)])
                acknowledged.append(value)

        async def commit() -> None:
            nonlocal committed
            async with bus.assign([PARTITION], group=GROUP) as consumer:
                while True:
                    for records in (await consumer.fetch()).values():
                        offset = records[-1].offset + 1
                        row = {("table", 0): {b"key": b"%d" % offset}}
                        await consumer.settle(offsets={PARTITION: offset}, state=row)
                        committed = offset

        async def lose() -> None:
            for loss in range(LOSSES):
                goal = len(acknowledged) + chance.randrange(1, 60)
                going.set()
                await until(lambda goal=goal: len(acknowledged) >= goal, "publishing goes on")  # type: ignore[misc]
                known, offset = list(acknowledged), committed
                left = [disk.after_power_loss(chance, share) for share in shares]
                going.clear()
                for number, content in enumerate(left):
                    after = Disk(f"after {loss}/{number}", content)
                    await check(tmp_path / f"after-{loss}-{number}", after, known, offset)

        tasks = [asyncio.create_task(each) for each in (*map(publish, range(4)), commit())]
        try:
            await lose()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


async def test_what_was_acknowledged_survives_a_power_loss(machine: Machine, tmp_path: Path) -> None:
    """Records, commits and state that were acknowledged are in the log after the power failed at any moment.

    Whether all that was not fsynced is lost then, files and folders included, or any half of it.
    """
    await lose_power(machine, tmp_path, [0.0, 0.5], honest=True)


async def test_the_power_loss_test_notices_when_fsync_does_nothing(machine: Machine, tmp_path: Path) -> None:
    """The same test fails when fsync is a no-op: so it is fsync that the promise rests on, and the test sees it."""
    with pytest.raises(LostError):
        await lose_power(machine, tmp_path, [0.0], honest=False)


async def test_a_disk_that_lied_leaves_an_error_and_not_a_bus_that_hangs(machine: Machine, tmp_path: Path) -> None:
    """Half of what was written without an fsync is no sound log: who uses it is told, or finds records missing."""
    async with asyncio.timeout(60):
        with pytest.raises((LostError, port.BusError)):
            await lose_power(machine, tmp_path, [0.5], honest=False)
