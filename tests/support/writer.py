"""A program that writes until it is killed, and says what was acknowledged: `python -m tests.support.writer DATA_DIR WHAT FIRST`.

WHAT is `publish` (records on a topic), `append` (records of the volume) or `watch` (a group's committed offsets). Each
acknowledgement is one line of JSON on standard output, written at once. What fails ends the program with a traceback.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from sixfold import catalogue
from sixfold.bus import Bus, NewRecord, TopicSpec, open_bus
from sixfold_functions.volume.client import VolumeClient

TOPIC = TopicSpec(name="test.written", partitions=6)
GROUP = "volume.tracker"
LANES = 3
LANE_NUMBERS = 1_000_000
"""Numbers that a lane may use; what has a number was written once, whoever writes."""
BATCH_MAX = 20


class Written(msgspec.Struct, frozen=True):
    """A record was acknowledged."""

    number: int
    partition: int
    """-1 for the volume."""
    place: int
    """Its offset, or its LSN."""


class Committed(msgspec.Struct, frozen=True):
    """Committed offsets of GROUP: (topic, partition, offset)."""

    offsets: list[tuple[str, int, int]]


def payload(number: int) -> bytes:
    """The bytes that have this number."""
    return b"%d." % number * (1 + number % 40)


def say(*lines: Written | Committed) -> None:
    """Tell what is acknowledged, in one write: a reader sees whole lines or, of the last one, a part."""
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    assert os.write(1, data) == len(data)


async def publish(bus: Bus, numbers: range) -> None:
    """Publish these records together."""
    records = [NewRecord(TOPIC.name, payload(number), key=b"%d" % number) for number in numbers]
    positions = await bus.publish(records)
    say(*(Written(number, at.partition, at.offset) for number, at in zip(numbers, positions, strict=True)))


async def append(volume: VolumeClient, numbers: range) -> None:
    """Append these records as one unit."""
    result = await volume.append([payload(number) for number in numbers])
    say(*(Written(number, -1, result.first_lsn + index) for index, number in enumerate(numbers)))


async def watch(bus: Bus) -> None:
    """Tell the committed offsets again and again."""
    while True:
        offsets = await bus.committed(GROUP)
        say(Committed([(*partition, offset) for partition, offset in sorted(offsets.items())]))
        await asyncio.sleep(0.02)


async def lane(write: Callable[[range], Awaitable[None]], first: int) -> None:
    """Write one batch after the other, of sizes that follow from the first number."""
    rng = random.Random(first)
    while True:
        count = rng.randint(1, BATCH_MAX)
        await write(range(first, first + count))
        first += count


async def main(data_dir: Path, what: str, first: int) -> None:
    """Write until killed."""
    firsts = [first + number * LANE_NUMBERS for number in range(LANES)]
    async with open_bus(data_dir=data_dir) as bus, asyncio.TaskGroup() as group:
        if what == "watch":
            await watch(bus)
        elif what == "publish":
            await bus.create_topics([TOPIC])
            for each in firsts:
                group.create_task(lane(lambda numbers: publish(bus, numbers), each))
        else:
            async with VolumeClient(bus, registry=catalogue.installed().registry) as volume:
                await asyncio.gather(*(lane(lambda numbers: append(volume, numbers), each) for each in firsts))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
