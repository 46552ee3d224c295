"""Volumes of pages with small segments and layers, whose copies let go of what nobody needs."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.paging import PAGES, Paging
from tests.simulation.snapshots import step
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_events.volume import VolumePagesRequested, VolumeReadAnswered, VolumeReadRequested

SEGMENT_BYTES = 4_000
FOLDER = Path("/volume/a1")


class PagedVolume:
    """Six copies in memory, and a writer that changes twelve pages of 512 bytes again and again."""

    def __init__(self, *, held_lsn: int = 1 << 40, encrypted: bool = False) -> None:
        self.world = World(3, segment_bytes_max=SEGMENT_BYTES, encrypted=encrypted)
        self.paging = Paging(self.world)
        self.held_lsn = held_lsn
        self.paging.held_lsn = lambda: self.held_lsn
        self.writer = Writer(self.world, "w")
        settle(self.world, self.writer)

    def write(self, appends: int = 300) -> None:
        """So many changes, each delivered to the copies that run; what the world does in a delivery is collecting."""
        for _ in range(appends):
            self.writer.append()
            self.world.deliver_all()
            self.writer.listen()
        settle(self.world, self.writer, rounds=3)

    def how(self, copy: str, from_lsn: int = 1, count: int = 0) -> VolumeReadAnswered:
        """What a copy answers who is asked for stored batches."""
        request = VolumeReadRequested(
            volume="default", copy=copy, request_id="", from_lsn=from_lsn, count=count, whole_batches=True
        )
        return self.world.copies[copy].answer(request)

    def floor(self, copy: str) -> int:
        return self.world.copies[copy].floor_lsn

    def bytes_of(self, copy: str) -> int:
        """Of all files in the copy's folder, layers included."""
        disk, folder = self.world.disks[copy], Path("/volume") / copy
        found = [each / name for each in (folder, folder / "pages") for name in disk.names(each)]
        return sum(disk.size(path) for path in found)

    def pages(self, copy: str, at: int) -> list[bytes]:
        """All pages of a copy at a read point."""
        made = self.world.copies[copy]
        request = VolumePagesRequested(
            volume="default", copy=copy, request_id="", pages=list(range(PAGES)), lsn=at, epoch=made.node.epoch
        )
        answer = made.pages.answer(request)
        assert not answer.error, answer.error
        return answer.contents

    def records(self, copy: str) -> list[bytes]:
        """All records that a copy keeps."""
        first = self.floor(copy) + 1
        last = self.world.copies[copy].node.prefix.complete_lsn
        batches = self.world.batches(copy, first, last)
        return [payload for batch in batches for payload in batch.payloads]

    def is_level(self, copy: str) -> bool:
        """Whether a copy has the pages and the records that another has, as far as both keep them."""
        other = "b1" if copy != "b1" else "a1"
        at = self.writer.tracker.durable_lsn
        mine, others = self.records(copy), self.records(other)
        shared = min(len(mine), len(others))
        ends = {self.world.copies[each].node.prefix.complete_lsn for each in (copy, other)}
        same = mine[len(mine) - shared :] == others[len(others) - shared :]
        return same and len(ends) == 1 and self.pages(copy, at) == self.pages(other, at)

    def begin_anew(self, copy: str, *, rounds: int = 12) -> None:
        """Let a copy take pages if it must, and get the rest from the writer."""
        for _ in range(rounds):
            if copy in self.world.copies:
                step(self.world, copy, self.world.names)
            settle(self.world, self.writer, rounds=3)
