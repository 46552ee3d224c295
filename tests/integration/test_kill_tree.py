"""kill -9 of the whole system, twenty times: nothing acknowledged is missing, nothing is repaired by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.tree import Tree

from sixfold import Event, Publisher, catalogue, errors
from sixfold.bus import EARLIEST, Bus, TopicPartition, TopicSpec, open_bus
from sixfold_events.registry import Registry
from sixfold_functions.volume.client import VolumeClient

KILLS = 20
GROUP = "volume.tracker"


class Counted(Event, topic="test.counted", key="number"):
    """A number that was published."""

    number: int


@dataclass
class Acknowledged:
    """What the system said it holds."""

    events: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(partition, offset) by number."""
    records: dict[int, bytes] = field(default_factory=dict)
    """Volume records by LSN."""
    committed: dict[TopicPartition, int] = field(default_factory=dict)


async def publish(bus: Bus, acknowledged: Acknowledged, number: int) -> None:
    """Publish one number and note where it lies."""
    [position] = await Publisher(bus, source="/test").publish(Counted(number=number))
    acknowledged.events[number] = (position.partition, position.offset)


async def append(client: VolumeClient, acknowledged: Acknowledged, number: int) -> None:
    """Append one record to the volume and note its LSN."""
    payload = b"record %d" % number
    result = await client.append([payload])
    acknowledged.records[result.first_lsn] = payload


async def forever(write: Callable[[int], Awaitable[None]], start: int) -> None:
    """Write one after the other until killed, or until nobody answers."""
    number = start
    while True:
        try:
            await write(number)
        except errors.SixfoldError:
            return
        number += 1


async def check(bus: Bus, client: VolumeClient, acknowledged: Acknowledged) -> None:
    """Everything acknowledged is there, where it was said to be."""
    committed = await bus.committed(GROUP)
    back = {
        tp: (offset, committed.get(tp))
        for tp, offset in acknowledged.committed.items()
        if committed.get(tp, -1) < offset
    }
    assert not back, f"committed offsets went back: {back}"
    acknowledged.committed = committed
    registry = Registry([Counted])
    found: dict[int, list[tuple[int, int]]] = {}
    partitions = [TopicPartition("test.counted", number) for number in range(6)]
    left = {tp for tp in partitions if (await bus.offsets(tp)).end > 0}
    async with bus.assign(partitions, start=EARLIEST) as consumer:
        while left:
            for tp, records in (await consumer.fetch(records_max=5000, wait_s=5)).items():
                for record in records:
                    event = registry.decode(record.value, record.headers)
                    assert isinstance(event, Counted)
                    found.setdefault(event.number, []).append((record.partition, record.offset))
                if records[-1].offset + 1 >= (await bus.offsets(tp)).end:
                    left.discard(tp)
    lost = {number: place for number, place in acknowledged.events.items() if found.get(number) != [place]}
    assert not lost, f"published and acknowledged, but not there once: {dict(list(lost.items())[:5])}"
    held: dict[int, bytes] = {}
    lsn = 1
    while payloads := (result := await client.read(lsn, 1000)).payloads:
        held.update(enumerate(payloads, result.first_lsn))
        lsn = result.first_lsn + len(payloads)
    missing = {lsn: payload for lsn, payload in acknowledged.records.items() if held.get(lsn) != payload}
    assert not missing, f"appended and acknowledged, but not there: {dict(list(missing.items())[:5])}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_killed_tree_comes_back_with_everything_that_it_acknowledged(tmp_path: Path) -> None:
    """kill -9 of all processes at a random moment of publishing and appending, twenty times over one data folder."""
    rng = random.Random(20141112)
    tree = Tree(tmp_path / "data")
    acknowledged = Acknowledged()
    registry = Registry([*catalogue.installed().registry.classes.values(), Counted])
    number = 0
    for kill in range(KILLS + 1):
        await tree.start()
        async with open_bus(data_dir=tree.data_dir) as bus, VolumeClient(bus, registry=registry) as client:
            await bus.create_topics([TopicSpec(name="test.counted")])
            await check(bus, client, acknowledged)
            if kill == KILLS:
                break
            writers = [
                asyncio.create_task(forever(lambda each: publish(bus, acknowledged, each), number + lane))
                for lane in (0, 10_000, 20_000)
            ] + [
                asyncio.create_task(forever(lambda each: append(client, acknowledged, each), number + lane))
                for lane in (0, 10_000)
            ]
            number += 100_000
            await asyncio.sleep(rng.uniform(0.05, 1.5))  # the moment of the kill is the seed's, not a condition
            acknowledged.committed |= await bus.committed(GROUP)
            await tree.kill()
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
    assert await tree.stop() == 0
    assert len(acknowledged.events) > KILLS
    assert len(acknowledged.records) > KILLS
