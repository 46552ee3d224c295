"""Minutes of a volume that is backed up as the service does it, restored at each second and compared with a plain model.

Time is held in hand; writer, copies, backup, snapshots and restore are the real ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.simulation.backups import payloads_of
from tests.simulation.lossy import LossyDisk
from tests.simulation.paging import Paging, applied
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_functions.volume import copy as copies
from sixfold_functions.volume.backup import archive, building, restoring, snapshots, store
from sixfold_functions.volume.core import backup

DAY_MS = 24 * 3_600_000
FOLLOWED_EVERY = 97
"""Seconds after which another writer comes."""
BACKED_UP_EVERY = 5
SNAPSHOT_EVERY = 45


class Minutes:
    """A volume of records, or of pages; `window_s` is its backup's retention."""

    def __init__(self, *, holds_pages: bool = False, window_s: int = 600, seed: int = 7) -> None:
        self.world = World(seed)
        self.rng = random.Random(seed)
        self.holds_pages = holds_pages
        if holds_pages:
            Paging(self.world)
        self.writer = Writer(self.world, "w0")
        settle(self.world, self.writer)
        self.kept = archive.Archive(store.MemoryStore(), "default")
        self.kept.refresh()
        self._window_ms = window_s * 1000
        self.model: list[tuple[int, bytes]] = []
        """The plain model: when each record was committed, and what it is."""
        self.collected = 0

    def second(self, number: int) -> None:
        """Some appends at moments of their own, or none; now and then another writer comes."""
        begun = self.world.clock.seconds
        if number % FOLLOWED_EVERY == FOLLOWED_EVERY - 1:
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
        if number % BACKED_UP_EVERY == BACKED_UP_EVERY - 1:
            self.back_up()
        if self.holds_pages and number % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1:
            snapshots.Maker(self.kept, Path("/nowhere")).make()
            self.collected += snapshots.collect(self.kept, retention_ms=self._window_ms, now_ms=0, grace_ms=0)

    def _settle(self) -> None:
        for _ in range(3):
            self.world.deliver_all()
            self.writer.listen()
            self.writer.pump()

    def back_up(self) -> None:
        """Take what is durable, and merge."""
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

    def moments(self) -> list[int]:
        """The seconds of the window, that are promised to be restorable."""
        first_ms = max(self.model[0][0], self.kept.latest_ms - self._window_ms)
        return list(range(-(-first_ms // 1000) * 1000, self.kept.latest_ms, 1000))

    def compared(self, moments: list[int], *, copy_every: int = 30) -> Iterator[tuple[int, bool]]:
        """Whether the volume restored at each moment is the one of then; now and then a copy of it is made and read."""
        for number, at_ms in enumerate(moments):
            expected = self._seen([data for stamp, data in self.model if stamp <= at_ms])
            right = self._seen(self.read_at(at_ms)) == expected
            if right and number % copy_every == 0:
                right = self._seen(self.restored(at_ms)) == expected
            yield at_ms, right

    def _seen(self, records: list[bytes]) -> Any:
        return applied(records) if self.holds_pages else records

    def read_at(self, at_ms: int) -> list[bytes]:
        """What the copies of a new volume get that was restored to then."""
        origin = restoring.find(self.kept, at_ms, volume="again")
        batches = building.events(building.past(origin, self.kept), origin)
        return [payload for batch in batches for payload in batch.payloads]

    def restored(self, at_ms: int) -> list[bytes]:
        """What a copy of a new volume has that was restored to then."""
        origin = restoring.find(self.kept, at_ms, volume="again")
        copy = copies.Copy(LossyDisk(), Path("/again"), volume="again", name="a1", registry=self.world.registry)
        copy.open(1)
        for group in building.groups(origin, self.kept):
            copy.learn(*group)
        assert copy.node.settled_lsn == origin.last_lsn
        return payloads_of(copy)
