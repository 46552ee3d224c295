"""The writer's record of who reads at which LSN: replicas say so on `volume.read.points`, others in this process here;
and of who takes records away, on `volume.retention`, which is compacted: what was said last of all is there at a start.

What it knows becomes the low-water mark in the redo, which copies keep (`StorageNode.low_water_lsn`) and readers hear,
and the LSN up to which every backup is.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import structlog

from sixfold import clock as clocks
from sixfold.bus import ends, port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeBackedUp, VolumeLogTrimmed, VolumeReadPointHeld
from sixfold_functions.volume import errors, topics
from sixfold_functions.volume.core import holding, layout
from sixfold_functions.volume.core.readpoints import PATIENCE_S, ReadPoints

Word = VolumeReadPointHeld | VolumeBackedUp | VolumeLogTrimmed


class ReadPointLostError(errors.VolumeError):
    """The volume no longer keeps the state that a reader reads: it was not heard of for too long. Begin a new read."""

    def __init__(self, volume: str, reader: str, lsn: int, low_water_lsn: int) -> None:
        self.lsn = lsn
        self.low_water_lsn = low_water_lsn
        super().__init__(
            f"volume {volume}: {reader} reads at LSN {lsn}, but the volume keeps states from LSN {low_water_lsn} on: the "
            f"writer did not hear of it for {PATIENCE_S:g} s and counts it no more. End this read and begin a new one"
        )


class ReadPointKeeper:
    """One writer's. `run` is a task that listens; `low_water` is asked for each batch that is sent."""

    def __init__(
        self, bus: port.Bus, *, registry: Registry, clock: clocks.Clock, volume: str, patience_s: float = PATIENCE_S
    ) -> None:
        self.points = ReadPoints(patience_s)
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._volume = volume
        self._patience_s = patience_s
        self.holders = holding.Holders()
        self._partition = port.TopicPartition(layout.topics(volume).read_points, 0)
        self._retention = port.TopicPartition(layout.topics(volume).retention, 0)
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Listen for ever."""
        since = clocks.now_ms(self._clock) - int(self._patience_s * 1000)
        start = await self._bus.offset_at(self._partition, since)
        begin, end = await self._bus.offsets(self._retention)
        if begin < end:
            async with self._bus.assign([self._retention]) as consumer:
                async for batch in ends.read_up_to(consumer, {self._retention: end}):
                    for record in batch:
                        self._hear(record)
        self.holders.known = True
        async with self._bus.assign([self._partition, self._retention]) as consumer:
            await consumer.seek(self._partition, start)
            await consumer.seek(self._retention, end)
            async for records in topics.follow(consumer, self._clock):
                for record in records:
                    self._hear(record)

    def _hear(self, record: port.Record) -> None:
        try:
            event = self._registry.decode(record.value, record.headers)
        except ValueError:
            return  # not a reader's word
        if not isinstance(event, Word) or event.volume != self._volume:
            return
        match event:
            case VolumeLogTrimmed():
                self.holders.trim(event.lsn)
            case VolumeBackedUp():
                age_s = max(clocks.now_ms(self._clock) - record.timestamp_ms, 0) / 1000
                heard_at = self._clock.monotonic() - age_s
                self.holders.hold(event.backup, event.last_lsn, heard_at)
            case VolumeReadPointHeld() if event.released:
                self.points.release(event.reader)
            case VolumeReadPointHeld():
                self.points.hold(event.reader, event.lsn, self._clock.monotonic())

    def low_water(self, durable_lsn: int) -> int:
        """Nobody reads at a lower LSN."""
        mark, lost = self.points.low_water(durable_lsn, self._clock.monotonic())
        for reader in lost:
            structlog.get_logger().warning(
                "a reader is silent and is counted no more",
                action="volume.reader.lost",
                volume=self._volume,
                reader=reader,
                patience_s=self._patience_s,
            )
        return mark

    def held(self, low_water_lsn: int) -> tuple[int, int]:
        """Up to where every backup is that is waited for, and up to where the user gave records up."""
        held_lsn, lost = self.holders.held_lsn(low_water_lsn, self._clock.monotonic())
        for holder in lost:
            structlog.get_logger().warning(
                "a backup is silent for a day; records are not kept for it any more",
                action="volume.backup.lost",
                volume=self._volume,
                backup=holder,
            )
        return held_lsn, self.holders.trimmed_lsn

    @contextlib.contextmanager
    def reading(self, lsn: int) -> Iterator[int]:
        """Keep the state at `lsn` (the durable LSN, say) readable while the block runs, in the writer's own process.

        Raises ReadPointLostError where it is not kept any more.
        """
        reader = f"the writer's read {next(self._numbers)}"
        if not self.points.hold_here(reader, lsn):
            raise ReadPointLostError(self._volume, reader, lsn, self.points.mark)
        try:
            yield lsn
        finally:
            self.points.release(reader)
