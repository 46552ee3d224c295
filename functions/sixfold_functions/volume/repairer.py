"""Carrying out repairs: reads what a copy lacks from the writer's memory or from another copy, and sends it on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeRedoBatch
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import redo
from sixfold_functions.volume.core import changing, repair, sequencer
from sixfold_functions.volume.core.tracker import QuorumTracker

FILL_BYTES_MAX = 8 * 1024 * 1024
"""Payload that is on its way to a copy; more follows once it has that. A copy's queue holds four times as much."""


class Repairer:
    """Runs one fill per copy at a time."""

    def __init__(
        self,
        reader: readers.CopyReader,
        tracker: QuorumTracker,
        *,
        registry: Registry,
        clock: clocks.Clock,
        outlet: redo.RedoOutlet,
        limits: sequencer.Limits,
    ) -> None:
        self.plan = repair.RepairPlan()
        self._reader = reader
        self._tracker = tracker
        self._registry = registry
        self._clock = clock
        self._outlet = outlet
        self._limits = limits
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger()

    def check(self) -> None:
        """Start what is due; call it now and then."""
        for fill in self.plan.due(self._tracker.copies, self._clock.monotonic(), self._tasks.keys()):
            task = asyncio.create_task(self._fill(fill), name=f"volume-repair-{fill.copy}")
            self._tasks[fill.copy] = task
            task.add_done_callback(lambda _, copy=fill.copy: self._tasks.pop(copy, None))  # type: ignore[misc]

    async def _fill(self, fill: repair.Fill) -> None:
        if fill.truncation:
            self._outlet.send(self._outlet.truncation(self._limits.ahead_records_max), fill.copy)
        if fill.admission and not changing.lacks(self._tracker.copies[fill.copy], self._tracker.membership):
            # Once it counts, its word must also be one on the members.
            self._outlet.send(self._outlet.admission(self._tracker.copies[fill.copy]), fill.copy)
        if not fill.last_lsn:
            return
        self._log.info(
            "a copy gets what it lacks",
            action="volume.copy.repaired",
            copy=fill.copy,
            first_lsn=fill.first_lsn,
            last_lsn=fill.last_lsn,
        )
        epoch, lsn, size = self._tracker.epoch, fill.first_lsn, 0
        try:
            while lsn <= fill.last_lsn and size < FILL_BYTES_MAX:
                batches = self._outlet.from_memory(lsn, fill.last_lsn) or await self._from_copy(fill, lsn)
                if not batches or self._tracker.epoch != epoch:
                    return  # nobody who counts has them now, and what was read in an epoch is sent in this one only
                for batch in batches:
                    self._outlet.again(batch, fill.copy)
                    lsn = max(lsn, batch.first_lsn + len(batch.payloads))
                    size += sum(map(len, batch.payloads))
                    self.plan.sent(fill.copy, lsn - 1, self._clock.monotonic())
        except (readers.CopyUnreachableError, readers.CopyDamagedError, port.BusError, avro.DecodeError) as error:
            self._log.warning("a repair failed", action="volume.repair.failed", copy=fill.copy, error=str(error))

    def on_ack(self, ack: VolumeCopyAcknowledged) -> None:
        """Take the newest word of a copy, which the tracker has."""
        self.plan.on_ack(ack, self._tracker.epoch, self._clock.monotonic())

    def sources(self, lsn: int, but: str) -> Iterator[str]:
        """Copies of the epoch that have the record at `lsn`, the one that has most first."""
        acks = sorted(self._tracker.copies.values(), key=lambda ack: -ack.complete_lsn)
        for ack in acks:
            if ack.copy != but and ack.epoch == ack.log_epoch == self._tracker.epoch and ack.complete_lsn >= lsn:
                yield ack.copy

    async def _from_copy(self, fill: repair.Fill, lsn: int) -> list[VolumeRedoBatch]:
        for source in self.sources(lsn, fill.copy):
            try:
                if batches := await self.read(source, lsn, fill.last_lsn):
                    return batches
            except (readers.CopyUnreachableError, readers.CopyDamagedError):
                continue
        return []

    async def read(self, source: str, first_lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
        """Stored batches of `source` from `first_lsn` on, as many as one answer holds."""
        answer = await self._reader.ask(source, from_lsn=first_lsn, count=last_lsn - first_lsn + 1, whole_batches=True)
        if not answer.status.epoch == answer.status.log_epoch == self._tracker.epoch:
            return []  # it obeys another writer by now: its records need not be of this epoch's volume
        batches = []
        for value in answer.batches:
            batch = self._registry.decode_as(VolumeRedoBatch, value)
            assert isinstance(batch, VolumeRedoBatch)
            batches.append(batch)
        return batches

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
