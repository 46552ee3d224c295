"""A process on an embedded bus, for tests that kill it: `python program.py ROLE FOLDER OUTPUT NAME`.

Roles: `idle` only has the bus open; `publish` publishes numbered records from several tasks and writes down each that
was acknowledged; `consume` is a member of group `g` and writes down what it read and each commit that was acknowledged.
Each line of OUTPUT is one JSON document, written after the fact. SIGTERM ends it in order.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded.client import EmbeddedBus

TOPIC = "numbers"
PARTITIONS = 4
GROUP = "g"
TASKS = 8


class Notes:
    """Lines of a file; each is in the operating system's hands before `write` returns, so a kill loses none."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def write(self, **fields: Any) -> None:
        os.write(self._descriptor, json.dumps(fields).encode() + b"\n")


async def _publish(bus: EmbeddedBus, notes: Notes, name: str, stopping: asyncio.Event) -> None:
    async def task(number: int) -> None:
        sequence = 0
        while not stopping.is_set():
            sequence += 1
            values = [f"{name}/{number}/{sequence}/{part}" for part in range(3)]
            records = [
                port.NewRecord(TOPIC, value.encode(), key=f"{name}{part}".encode()) for part, value in enumerate(values)
            ]
            await bus.publish(records)
            notes.write(acknowledged=values)

    async with asyncio.TaskGroup() as group:
        for number in range(TASKS):
            group.create_task(task(number))


async def _consume(bus: EmbeddedBus, notes: Notes, name: str, stopping: asyncio.Event) -> None:
    clock = clocks.SystemClock()
    async with bus.subscribe(GROUP, [TOPIC]) as consumer:
        while not stopping.is_set():
            for partition, records in (await consumer.fetch(wait_s=0.2)).items():
                notes.write(read=[partition.partition, records[0].offset, records[-1].offset])
                try:
                    await consumer.settle(offsets={partition: records[-1].offset + 1})
                except port.FencedError:
                    notes.write(fenced=partition.partition)
                else:
                    notes.write(committed=[partition.partition, records[-1].offset + 1], at=clock.monotonic())


async def _main(role: str, folder: Path, output: Path, name: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    notes = Notes(output)
    async with EmbeddedBus(folder, clock=clocks.SystemClock()) as bus:
        await bus.create_topics([port.TopicSpec(name=TOPIC, partitions=PARTITIONS)])
        notes.write(ready=name, owner=bus.owner)
        if role == "publish":
            await _publish(bus, notes, name, stopping)
        elif role == "consume":
            await _consume(bus, notes, name, stopping)
        else:
            await stopping.wait()
    notes.write(ended=name)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
