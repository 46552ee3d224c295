"""What must hold of a volume, whatever happens to it; looked at after every step of its life."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.simulation.paging import Paging
from tests.simulation.violations import ViolationError
from tests.simulation.world import World
from tests.simulation.writer import Writer

from sixfold_events.volume import VolumeRedoBatch
from sixfold_functions.volume import files


class Checker:
    """Looks at a world from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.told = self._told
        self.paging: Paging | None = None
        self._acknowledged: dict[int, int] = {}
        """The last LSN of which clients were told, by epoch."""
        self._durable: dict[tuple[str, int], int] = {}
        """By writer and epoch."""
        self.durable_lsn = 0
        """The highest LSN that any writer has known to be durable."""
        self._began: dict[int, int] = {}
        """Where each epoch began that was established."""
        self._settled: dict[int, bytes] = {}
        """Records that a copy knew to be durable."""
        self.batches: dict[int, VolumeRedoBatch] = {}
        """Those that a copy knew to be settled, by their first LSN."""
        self._looked_at: dict[str, int] = {}
        """Up to where each copy's were compared."""

    def _told(self, writer: Writer, lsn: int, data: bytes) -> None:
        known = self._world.acknowledged.get(lsn, data)
        if known != data:
            raise ViolationError("I1", f"LSN {lsn} was acknowledged as {known!r}, and now as {data!r}")
        epoch = writer.recovery.epoch
        newest = max(self._began, default=epoch)
        if newest > epoch and lsn > self._began[newest]:
            raise ViolationError(
                "I6", f"{writer.name} acknowledged LSN {lsn}, a newer epoch began at {self._began[newest]}"
            )
        self._acknowledged[epoch] = max(lsn, self._acknowledged.get(epoch, 0))

    def durable_record(self, lsn: int) -> bytes | None:
        """The durable record, if a client was told of it or a copy knows it."""
        return self._settled.get(lsn, self._world.acknowledged.get(lsn))

    def look(self, writers: Iterable[Writer]) -> None:
        """Raises ViolationError."""
        for writer in writers:
            self._look_at_durable(writer)
            if writer.established and writer.recovery.epoch not in self._began:
                self._look_at_beginning(writer)
        for copy in list(self._world.copies):
            self._look_at_settled(copy)
        if self.paging is not None and (found := self.paging.look(self._settled)):
            raise ViolationError("I9", found)

    def _look_at_durable(self, writer: Writer) -> None:
        place, lsn = (writer.name, writer.recovery.epoch), writer.tracker.durable_lsn
        before = self._durable.get(place, 0)
        if lsn < before:
            raise ViolationError("I2", f"{writer.name} has LSN {lsn} durable, it had {before} before")
        if lsn > before:
            self._durable[place] = lsn
            self.durable_lsn = max(self.durable_lsn, lsn)

    def _look_at_beginning(self, writer: Writer) -> None:
        assert writer.recovery.beginning is not None
        epoch, began = writer.recovery.epoch, writer.recovery.beginning.durable_lsn
        earlier = max((lsn for each, lsn in self._acknowledged.items() if each < epoch), default=0)
        if began < earlier:
            raise ViolationError("I2", f"{writer.name} begins at LSN {began}, LSN {earlier} had been acknowledged")
        self._began[epoch] = began
        self.look_at_content(writer)

    def look_at_content(self, writer: Writer) -> None:
        """Raises ViolationError where the volume as this writer has it lacks what clients were told of."""
        found = writer.durable()
        begin = min(found, default=0)  # of older records it has only what they made, which is compared as pages
        missing = {
            lsn: data
            for lsn, data in self._world.acknowledged.items()
            if found and begin <= lsn <= writer.tracker.durable_lsn and found.get(lsn) != data
        }
        for lsn, data in missing.items():
            raise ViolationError("I1", f"LSN {lsn} was acknowledged as {data!r}, {writer.name} has {found.get(lsn)!r}")

    def _look_at_settled(self, copy: str) -> None:
        made = self._world.copies[copy]
        settled, before = made.node.settled_lsn, self._looked_at.get(copy, 0)
        if settled == before:
            return
        looked_at = max(min(before, settled), made.floor_lsn)
        for batch in self._records(copy, looked_at + 1, settled):
            self.batches.setdefault(batch.first_lsn, batch)
            for number, data in enumerate(batch.payloads, batch.first_lsn):
                if looked_at < number <= settled and self._settled.setdefault(number, data) != data:
                    raise ViolationError("I3", f"{copy} has {data!r} for LSN {number}, not {self._settled[number]!r}")
            looked_at = batch.first_lsn + len(batch.payloads) - 1
        self._looked_at[copy] = min(looked_at, settled)

    def _records(self, copy: str, first_lsn: int, last_lsn: int) -> Iterator[VolumeRedoBatch]:
        """Read where the copy keeps them, without a question and its answers."""
        looked_at = self._world.copies[copy]
        try:
            yield from map(looked_at.batch, looked_at.places(first_lsn, last_lsn))
        except files.LogDamagedError as damage:
            self._world.broken(copy, damage)
