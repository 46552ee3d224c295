"""kill -9 of the whole system, twenty times: nothing acknowledged is missing, nothing is repaired by hand.

Whoever writes dies in the same moment as the system. So the next `sixfold up` is the first to open what was left: no
client that survived has replayed its own writes or closed the log.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.support import leftovers, writer
from tests.support.checkout import ROOT
from tests.support.tree import Tree
from tests.support.waiting import eventually

from sixfold import catalogue
from sixfold.bus import EARLIEST, Bus, TopicPartition, open_bus
from sixfold.demo import processes
from sixfold_functions.volume.client import VolumeClient

KILLS = 20
WRITERS = ("publish", "append", "watch")
ROUND_NUMBERS = 100_000_000


@dataclass
class Acknowledged:
    """What the system said that it holds."""

    records: dict[tuple[int, int], int] = field(default_factory=dict)
    """Numbers by (partition, offset) on the topic, and by (-1, LSN) in the volume."""
    committed: dict[TopicPartition, int] = field(default_factory=dict)

    def take(self, lines: list[bytes]) -> None:
        """Take in what a writer said; a number or a place never comes twice."""
        for line in lines:
            said = msgspec.json.decode(line, type=dict[str, object])
            if "offsets" in said:
                found = msgspec.convert(said, writer.Committed)
                self.advance({TopicPartition(topic, number): offset for topic, number, offset in found.offsets})
            else:
                each = msgspec.convert(said, writer.Written)
                place = (each.partition, each.place)
                assert place not in self.records, (
                    f"{place} was acknowledged for {self.records[place]} and {each.number}"
                )
                self.records[place] = each.number

    def advance(self, committed: dict[TopicPartition, int]) -> None:
        """Take in committed offsets; they never go back."""
        back = {tp: (at, committed.get(tp)) for tp, at in self.committed.items() if committed.get(tp, -1) < at}
        assert not back, f"committed offsets went back, from and to: {back}"
        self.committed = committed


class Writer:
    """A writing process; what it says goes to a file, which holds it whatever becomes of the process."""

    def __init__(self, data_dir: Path, what: str, first: int, folder: Path) -> None:
        self._words = [str(data_dir), what, str(first)]
        self._said = folder / f"{first}-{what}.said"
        self._problems = folder / f"{first}-{what}.problems"

    async def start(self) -> None:
        """Return once it has had its first acknowledgement."""
        with self._said.open("wb") as said, self._problems.open("wb") as problems:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.writer", *self._words), cwd=ROOT, stdout=said, stderr=problems
            )
        await eventually(lambda: self._said.stat().st_size or self._ended(), f"an answer to {self._words}", 60)
        assert not self._ended(), self.problems

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def problems(self) -> str:
        return f"{self._words[1]} ended with {self._process.returncode}: {self._problems.read_text()[-2000:]}"

    def _ended(self) -> bool:
        return self._process.returncode is not None

    async def killed(self) -> list[bytes]:
        """The lines that it said until it was killed; whoever ended by himself met an error."""
        assert await self._process.wait() == -signal.SIGKILL, self.problems
        return self._said.read_bytes().split(b"\n")[:-1]


async def check(bus: Bus, client: VolumeClient, acknowledged: Acknowledged) -> None:
    """Everything acknowledged is there, byte for byte, where it was said to be."""
    acknowledged.advance(await bus.committed(writer.GROUP))
    held: dict[tuple[int, int], bytes | None] = {}
    if writer.TOPIC.name in await bus.topics():
        partitions = [TopicPartition(writer.TOPIC.name, number) for number in range(writer.TOPIC.partitions)]
        ends = {tp: (await bus.offsets(tp)).end for tp in partitions}
        async with bus.assign(partitions, start=EARLIEST) as consumer:
            while any(ends.values()):
                for tp, records in (await consumer.fetch(records_max=5000, wait_s=5)).items():
                    held.update(((tp.partition, record.offset), record.value) for record in records)
                    if records[-1].offset + 1 >= ends[tp]:
                        ends[tp] = 0
    lsn = 1
    while payloads := (await client.read(lsn, 5000)).payloads:
        held.update(((-1, lsn + index), each) for index, each in enumerate(payloads))
        lsn += len(payloads)
    lost = {at: number for at, number in acknowledged.records.items() if held.get(at) != writer.payload(number)}
    assert not lost, f"{len(lost)} records acknowledged, but not there: {dict(list(lost.items())[:5])}"
    copies = Counter((partition == -1, payload) for (partition, _), payload in held.items())
    twice = [at for at, number in acknowledged.records.items() if copies[at[0] == -1, writer.payload(number)] != 1]
    assert not twice, f"{len(twice)} records are there more than once: {twice[:5]}"


async def start_and_check(tree: Tree, acknowledged: Acknowledged) -> None:
    """`sixfold up` comes back by itself, and has everything."""
    await tree.start()
    registry = catalogue.installed().registry
    async with open_bus(data_dir=tree.data_dir) as bus, VolumeClient(bus, registry=registry) as client:
        await check(bus, client, acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_killed_tree_comes_back_with_everything_that_it_acknowledged(tmp_path: Path) -> None:
    """kill -9 of all processes at a random moment of publishing and appending, twenty times over one data folder."""
    rng = random.Random(20141112)
    tree = Tree(tmp_path / "data")
    acknowledged = Acknowledged()
    try:
        for kill in range(KILLS):
            await start_and_check(tree, acknowledged)
            writers = [Writer(tree.data_dir, what, kill * ROUND_NUMBERS, tmp_path) for what in WRITERS]
            await asyncio.gather(*(each.start() for each in writers))
            await asyncio.sleep(rng.uniform(0.05, 1.5))  # the moment of the kill is the seed's, not a condition
            await tree.kill(*(each.pid for each in writers))
            for each in writers:
                acknowledged.take(await each.killed())
            await eventually(lambda: not leftovers.holders_of(tree.data_dir), "nobody holds the folder open")
        await start_and_check(tree, acknowledged)
        assert await tree.stop() == 0
    finally:
        processes.kill(leftovers.processes_of(tree.data_dir))  # where the test fails
    appended = sum(partition == -1 for partition, _ in acknowledged.records)
    published = len(acknowledged.records) - appended
    assert min(appended, published) > KILLS, f"only {published} records published and {appended} appended"
    assert acknowledged.committed, "no function committed anything"
