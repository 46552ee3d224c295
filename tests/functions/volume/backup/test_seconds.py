"""Ten minutes of a volume, restored at every second and compared with a plain model. Time is held in hand."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.simulation.backups import payloads_of
from tests.simulation.decoding import REAL as REGISTRY
from tests.simulation.lossy import LossyDisk
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_functions.volume import copy as copies
from sixfold_functions.volume.backup import archive, building, moments, restoring, store
from sixfold_functions.volume.core import backup, layout

SECONDS = 600
DAY_MS = 24 * 3_600_000


class Minutes:
    """A volume of real copies whose writer is followed now and then, backed up as the service does it."""

    def __init__(self) -> None:
        self.world = World(7)
        self.rng = random.Random(7)
        self.writer = Writer(self.world, "w0")
        settle(self.world, self.writer)
        self.kept = archive.Archive(store.MemoryStore(), "default")
        self.kept.refresh()
        self.model: list[tuple[int, bytes]] = []
        """The plain model: when each record was committed, and what it is."""

    def second(self, number: int) -> None:
        """Some appends at moments of their own, or none; every 97 seconds another writer comes."""
        begun = self.world.clock.seconds
        if number % 97 == 96:
            self.writer = Writer(self.world, f"w{number}")
            settle(self.world, self.writer)
        for moment in sorted(self.rng.random() for _ in range(self.rng.choice([0, 1, 1, 3]))):
            self.world.clock.seconds = max(begun + moment, self.world.clock.seconds)
            before = len(self.world.acknowledged)
            self.writer.append(self.rng.choice([1, 2, 4]))
            self._settle()
            stamp = int(self.world.clock.seconds * 1000)
            for lsn in range(before + 1, len(self.world.acknowledged) + 1):
                self.model.append((stamp, self.world.acknowledged[lsn]))
        self.world.clock.seconds = max(begun + 1.0, self.world.clock.seconds)
        self.writer.tell()
        self._settle()
        if number % 5 == 4:
            self.back_up()

    def _settle(self) -> None:
        for _ in range(3):
            self.world.deliver_all()
            self.writer.listen()
            self.writer.pump()

    def back_up(self) -> None:
        words = [copy.node.acknowledgement() for copy in self.world.copies.values()]
        source, tail = max(words, key=lambda word: word.settled_lsn), self.kept.tail()
        while tail.last_lsn < source.settled_lsn:
            stored = self.world.batches(source.copy, tail.last_lsn + 1, source.settled_lsn)
            self.kept.add(tail.taken(stored, source.settled_lsn))
            tail = self.kept.tail()
        quiet = backup.promise(words)
        assert quiet is not None
        self.kept.note(quiet)
        self.kept.compact(retention_ms=DAY_MS)


def read_at(kept: archive.Archive, at_ms: int) -> list[bytes]:
    """What the copies of a new volume get that was restored to then."""
    origin = restoring.find(kept, at_ms, volume="again")
    batches = building.events(kept.batches(1, origin.last_lsn), origin)
    return [payload for batch in batches for payload in batch.payloads]


def restored(kept: archive.Archive, at_ms: int) -> list[bytes]:
    """What a copy of a new volume has that was restored to then."""
    origin = restoring.find(kept, at_ms, volume="again")
    copy = copies.Copy(LossyDisk(), Path("/again"), volume="again", name="a1", registry=REGISTRY)
    copy.open(1)
    for group in building.groups(origin, kept):
        copy.learn(*group)
    assert copy.node.settled_lsn == origin.last_lsn
    return payloads_of(copy)


async def test_every_second_of_ten_minutes_is_restored_as_it_was() -> None:
    """Through real copies, the backup's objects and their merging; every 30 seconds a copy of a new volume is made."""
    lived = Minutes()
    begun_ms = int(lived.world.clock.seconds * 1000)
    for number in range(SECONDS):
        lived.second(number)
        await asyncio.sleep(0)
    end_ms = int(lived.world.clock.seconds * 1000)
    assert end_ms - begun_ms >= SECONDS * 1000
    assert end_ms - lived.kept.latest_ms < 10_000
    assert {piece.level for piece in lived.kept.chain.pieces} >= {0, 1}
    first_ms = lived.model[0][0]
    compared = 0
    for at_ms in range(first_ms // 1000 * 1000 + 1000, lived.kept.latest_ms, 1000):
        expected = [data for stamp, data in lived.model if stamp <= at_ms]
        assert read_at(lived.kept, at_ms) == expected, moments.text(at_ms)
        if compared % 30 == 0:
            assert restored(lived.kept, at_ms) == expected, moments.text(at_ms)
        compared += 1
    assert compared > SECONDS - 10
    assert len(lived.model) > 1_000
    assert len({copy.node.epoch for copy in lived.world.copies.values()}) == 1
    assert len(layout.COPIES) == len(lived.world.copies)
