"""A dead zone never blocks the others: the writer's `Sender` on a real bus of which a zone hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from tests.functions.volume import inside
from tests.functions.volume.faulty import FaultyBus
from tests.simulation.world import StillClock
from tests.support import buses
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold_functions.volume import sender as senders
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.settings import WriterSettings

REDO = layout.topics(layout.DEFAULT_VOLUME).redo
ALIVE = ("a1", "a2", "b1", "b2")


class HandClock(StillClock):
    """Its time moves by hand; who sleeps goes on at the loop's next turns."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


class Rig:
    """A sender, its bus and its clock."""

    def __init__(self, bus: port.Bus) -> None:
        self.bus = FaultyBus(bus)
        self.clock = HandClock()
        self.room = 0
        self.sender = senders.Sender(self.bus, REDO, b"key", clock=self.clock)
        self.sender.on_room = self._on_room

    def _on_room(self) -> None:
        self.room += 1

    def send(self, *names: str) -> None:
        for name in names:
            self.sender.send(senders.Parcel(name.encode(), ()), layout.COPIES)

    async def stored(self, copy: str) -> list[str]:
        """What is in a copy's partition."""
        partition = port.TopicPartition(REDO, layout.PARTITION[copy])
        end = (await self.bus.offsets(partition)).end
        found: list[str] = []
        async with self.bus.assign([partition]) as consumer:
            while len(found) < end:
                for records in (await consumer.fetch(wait_s=1.0)).values():
                    found += [(record.value or b"").decode() for record in records]
        return found

    async def has(self, copies: tuple[str, ...], *names: str) -> None:
        for copy in copies:

            async def there(copy: str = copy) -> bool:
                return set(await self.stored(copy)) >= set(names)

            await eventually(there, f"{copy} has {names}")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    async with buses.open_bus(buses.Place("embedded:", tmp_path)) as bus:
        await bus.create_topics(topics.specs())
        made = Rig(bus)
        yield made
        made.bus.heal()
        await made.sender.close()


async def test_a_call_that_hangs_splits_the_copies_and_the_others_go_on(rig: Rig) -> None:
    """Until then two calls are under way and no more is taken; after it a quorum of lanes has room."""
    rig.send("one")
    await rig.has(layout.COPIES, "one")
    rig.bus.hang(REDO, ("c1", "c2"))
    await eventually(rig.sender.has_room, "the first call is over")
    rig.send("two", "three")
    assert not rig.sender.has_room()
    rig.clock.seconds += senders.STALL_S - 0.1
    rig.sender.check()
    assert not rig.sender.has_room(), "a slow call is not a dead zone yet"
    rig.clock.seconds += 0.2
    before = rig.room
    rig.sender.check()
    assert rig.sender.has_room()
    assert rig.room == before + 1, "whoever waits for room is told"
    rig.send("four", "five")
    await rig.has(ALIVE, "one", "two", "three", "four", "five")
    assert await rig.stored("c1") == ["one"]


async def test_after_the_zone_is_back_it_gets_what_waited_and_calls_are_joint_again(rig: Rig) -> None:
    """One call with six records, as before."""
    rig.bus.hang(REDO, ("c1", "c2"))
    rig.send("one")
    rig.clock.seconds += senders.STALL_S + 1
    rig.sender.check()
    rig.send("two")
    await rig.has(ALIVE, "one", "two")
    rig.bus.heal()
    await rig.has(layout.COPIES, "one", "two")
    assert sorted(await rig.stored("c1")) == ["one", "two"]

    async def joint() -> bool:
        rig.bus.calls.clear()
        rig.send("again")
        await eventually(lambda: rig.bus.calls, "something is published")
        return len(rig.bus.calls[0]) == len(layout.COPIES)

    await eventually(joint, "six records go out in one call")


async def test_a_lane_that_is_full_drops_what_comes_and_holds_up_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; the copy has a gap, which is counted and repaired later; the other copies have everything."""
    monkeypatch.setattr(senders, "LANE_BYTES_MAX", 1000)
    rig.bus.hang(REDO, ("c1", "c2"))
    rig.send("first")
    rig.clock.seconds += senders.STALL_S + 1
    rig.sender.check()
    names = [f"{number:0100}" for number in range(30)]
    for name in names:
        rig.send(name)
        await rig.has(("a1",), name)
    await rig.has(ALIVE, *names)
    assert rig.sender.dropped == 2 * 20, "each of two lanes holds ten"
    rig.bus.heal()
    await rig.has(layout.COPIES, *names[:10])
    assert set(await rig.stored("c2")) == {"first", *names[:10]}


async def test_what_can_never_be_sent_ends_the_writer_and_what_may_be_is_tried_again(rig: Rig) -> None:
    """A record beyond the topic's limit is fatal; a broker that is away is waited for, and named."""
    rig.bus.refused = {REDO}
    rig.send("later")
    await eventually(lambda: rig.sender.last_error, "the bus refused it")
    assert "no broker has volume.redo" in rig.sender.last_error
    rig.bus.refused = set()
    await rig.has(layout.COPIES, "later")
    fatal: list[Exception] = []
    rig.sender.on_fatal = fatal.append
    rig.send("x" * 1_100_000)
    await eventually(lambda: fatal, "the sender gives up")
    assert isinstance(fatal[0], port.RecordTooLargeError)


async def test_appends_are_acknowledged_without_a_zone_and_it_is_level_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole writer: its lanes overflow, its sender rejoins, and the gap is filled."""
    monkeypatch.setattr(senders, "STALL_S", 0.2)
    monkeypatch.setattr(senders, "LANE_BYTES_MAX", 20_000)
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        bus = FaultyBus(volume.bus)
        volume.bus = bus
        async with volume.writer(settings=WriterSettings(append_timeout_s=60.0)) as writer:
            await writer.append([b"all six"])
            bus.hang(REDO, ("c1", "c2"))
            for _ in range(60):
                last = await writer.append([b"x" * 1000])
            async with volume.client() as client:
                status = await client.status()
            behind = {copy.copy: copy.complete_lsn for copy in status.copies if copy.zone == "c"}
            assert max(behind.values()) < last.last_lsn
            bus.heal()
            await eventually(lambda: volume.is_level(last.last_lsn), "the zone is level")
