"""A worker to be killed: `python -m tests.runtime.crash_child DATA_DIR JOURNAL` runs until then.

It counts readings in a table, emits one event for each, and notes in the journal which it was called for.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sixfold import Context, Event, function
from sixfold.bus import TopicSpec, open_bus
from sixfold.process import Process
from sixfold.running import run_functions
from sixfold_events.registry import Registry

TOPICS = (TopicSpec(name="crash.readings", partitions=3), TopicSpec(name="crash.counted", partitions=2))
JOURNAL = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(os.devnull)


class Reading(Event, topic="crash.readings", key="sensor"):
    """What is handled."""

    sensor: str
    number: int


class Counted(Event, topic="crash.counted", key="sensor"):
    """What is emitted for each."""

    sensor: str
    number: int


@function(on=Reading, emits=[Counted], name="crash.count", tables=["sums"])
async def count(event: Reading, ctx: Context) -> None:
    """Note the call, fold the reading, emit."""
    journal = await ctx.resource(open_journal)
    os.write(journal, b"%d\n" % event.number)
    table = ctx.table("sums")
    table.put(event.sensor, await table.get(event.sensor, 0) + event.number)
    ctx.emit(Counted(sensor=event.sensor, number=event.number))


def open_journal(process: Process) -> int:
    """A file that every append of a killed process is in."""
    return os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


async def main(data_dir: Path) -> None:
    """Run the function until killed."""
    async with open_bus("embedded:", data_dir=data_dir) as bus:
        process = Process(name="crash", data_dir=data_dir, registry=Registry([Reading, Counted]), bus=bus)
        await run_functions(process, [count], stopping=process.stopping, topics=TOPICS)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
