"""A read replica's heart: which records may be seen, in which order, and what is missing. Aurora's two rules: nothing
above the durable LSN is applied, and what became durable together is applied together.

What a replica hears is never more than a copy hears: redo that may be lost, come twice or be overtaken, and words that
all up to some LSN is durable. Each such word names the epoch that it was said in. A batch that was sent in an epoch
belongs to that epoch's volume, and every later epoch begins with all that was durable before it. So a replica believes
one epoch, the newest that it has heard, holds only batches of its volume, and gives those out that a word of this epoch
or of an older one covers: no recovery can annul them. When a newer epoch comes, whatever is not covered yet is dropped,
for it may have been annulled. (The new epoch's truncation says how much of it stays, but not that it is durable: the
recovery may not come to its end.)

What is missing below the durable LSN is to be read from a copy's log (`missing`, `on_answer`).
Source: Verbitski et al., "Amazon Aurora", SIGMOD 2017, section 4.2.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeCopyAdmitted,
    VolumeDurableAdvanced,
    VolumeEpochBumped,
    VolumeMembershipChanged,
    VolumeRangeTruncated,
    VolumeRedoBatch,
    VolumeRestored,
)
from sixfold_functions.volume.core.lag import LagMeter
from sixfold_functions.volume.core.node import Redo

HELD_RECORDS_MAX = 200_000
HELD_BYTES_MAX = 134_217_728
"""Twice what a writer has on the way at most (`Limits.ahead_records_max`, `window_bytes_max`): beyond the durable LSN
as the writer knows it, and again as much that is durable and of which the replica has not heard, or that it lacks."""


class ConsistencyPoint(NamedTuple):
    """Records that are applied together."""

    first_lsn: int
    records: list[bytes]

    @property
    def last_lsn(self) -> int:
        """The consistency point: with these records applied, the state is one that the volume had."""
        return self.first_lsn + len(self.records) - 1


class Replica:
    """Takes what comes; `take_points` gives consistency points in order, each once, and none that may be annulled."""

    def __init__(
        self,
        volume: str,
        *,
        start_lsn: int = 0,
        held_records_max: int = HELD_RECORDS_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        """Begin behind `start_lsn`, of which the caller has the state. Inside of an append its rest comes first."""
        self.volume = volume
        self.epoch = 0
        self.durable_lsn = start_lsn
        """All up to here is durable, for all that was heard."""
        self.heard_lsn = start_lsn
        """Highest LSN of the epoch that the partition spoke of."""
        self.low_water_lsn = 0
        """The writer counts nobody who reads below."""
        self.given_lsn = start_lsn
        """The last consistency point that was given out."""
        self.lag = LagMeter()
        self.diverged = ""
        """Why nothing more is given out: the volume is not the one any more that was followed."""
        self._held_records_max = held_records_max
        self._held_bytes_max = held_bytes_max
        self._held: dict[int, VolumeRedoBatch] = {}
        """Each is of the volume of `epoch`, or ends at or below `durable_lsn` and is durable."""
        self._held_records = self._held_bytes = 0
        self._start_lsn = self._end_lsn = start_lsn
        """Records up to here are taken from what is held."""
        self._end_origin = None if start_lsn else 0
        """Epoch that the record at `_end_lsn` was first written in; None where that is not known."""
        self._open: list[bytes] = []
        """Records behind `given_lsn` whose consistency point is still to come."""
        self._points: list[ConsistencyPoint] = []

    # -- what is heard ---------------------------------------------------------------------------------------------

    def on_redo(self, event: Redo) -> None:
        """Take a record of a copy's partition."""
        if event.volume != self.volume:
            return
        match event:
            case VolumeRedoBatch():
                self._claim(event.epoch, event.durable_lsn, event.durable_at_ms)
                self._move(event.epoch)
                if event.epoch == self.epoch:
                    self.low_water_lsn = max(self.low_water_lsn, event.low_water_lsn)
                    self.heard_lsn = max(self.heard_lsn, event.first_lsn + len(event.payloads) - 1)
                    self._hold(event)
            case VolumeRangeTruncated():
                self._truncate(event)
            case VolumeEpochBumped() | VolumeCopyAdmitted() | VolumeMembershipChanged() | VolumeRestored():
                return  # nothing is known of the new epoch yet; the old one's durable records stay durable
        self._advance()

    def on_announcement(self, event: VolumeDurableAdvanced) -> None:
        """Take the writer's word on `volume.durable`."""
        if event.volume == self.volume:
            self._claim(event.epoch, event.durable_lsn, event.durable_at_ms)
            self._advance()

    def on_answer(self, status: VolumeCopyAcknowledged, batches: Iterable[VolumeRedoBatch] = ()) -> None:
        """Take stored batches of a copy's log, and how the copy was when it read them."""
        if status.volume != self.volume:
            return
        self._claim(status.epoch, status.settled_lsn, 0)
        self._move(status.log_epoch)
        for batch in batches:
            settled = batch.first_lsn + len(batch.payloads) - 1 <= status.settled_lsn
            if settled or status.log_epoch == self.epoch:
                self._hold(batch)
                self._advance()
        self._advance()

    def _claim(self, epoch: int, durable_lsn: int, at_ms: int) -> None:
        if durable_lsn > self.durable_lsn:
            self._move(epoch)  # before: what is held of an older epoch is not covered by this word
            self.durable_lsn = durable_lsn
        self.lag.durable(durable_lsn, at_ms)

    def _move(self, epoch: int, kept_lsn: int = 0) -> None:
        """Believe `epoch` if it is newer. Of what is held its volume has all that is durable, and up to `kept_lsn`."""
        if epoch <= self.epoch:
            return
        self.epoch, self.heard_lsn = epoch, self.durable_lsn
        kept_lsn = max(kept_lsn, self.durable_lsn)
        held, self._held, self._held_records, self._held_bytes = self._held, {}, 0, 0
        for batch in held.values():
            if batch.first_lsn + len(batch.payloads) - 1 <= kept_lsn:
                self._keep(batch)

    def _truncate(self, event: VolumeRangeTruncated) -> None:
        if event.epoch <= self.epoch:
            return
        taken = self._end_lsn > self._start_lsn  # so an epoch not newer than ours had it durable
        if taken and event.durable_lsn < self._end_lsn:
            self.diverged = f"a writer began its epoch at LSN {event.durable_lsn}, but records up to LSN {self._end_lsn} were durable"
            return
        # Where the recovery took the records of a copy of our epoch, both are prefixes of the same volume.
        self._move(event.epoch, event.durable_lsn if event.source_epoch == self.epoch else 0)

    def _hold(self, batch: VolumeRedoBatch) -> None:
        last_lsn = batch.first_lsn + len(batch.payloads) - 1
        if last_lsn <= self._end_lsn or not batch.payloads:
            return
        if batch.first_lsn <= self._end_lsn:  # only where somebody starts inside of a batch
            done = self._end_lsn + 1 - batch.first_lsn
            batch = msgspec.structs.replace(
                batch,
                first_lsn=self._end_lsn + 1,
                payloads=batch.payloads[done:],
                backlink_epoch=self._end_origin or 0,
                consistency_points=[point for point in batch.consistency_points if point > self._end_lsn],
            )
        if batch.first_lsn in self._held:
            return
        full = self._held_records >= self._held_records_max or self._held_bytes >= self._held_bytes_max
        if not full or batch.first_lsn == self._end_lsn + 1:
            self._keep(batch)

    def _keep(self, batch: VolumeRedoBatch) -> None:
        self._held[batch.first_lsn] = batch
        self._held_records += len(batch.payloads)
        self._held_bytes += sum(map(len, batch.payloads))

    # -- what follows ----------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while (batch := self._held.get(self._end_lsn + 1)) is not None and not self.diverged:
            last_lsn = batch.first_lsn + len(batch.payloads) - 1
            if last_lsn > self.durable_lsn:
                return
            del self._held[batch.first_lsn]
            self._held_records -= len(batch.payloads)
            self._held_bytes -= sum(map(len, batch.payloads))
            if self._end_origin is not None and batch.backlink_epoch != self._end_origin:
                self.diverged = f"the durable record at LSN {batch.first_lsn} does not follow what was durable at LSN {self._end_lsn}"
                return
            self._give(batch)
            self._end_lsn, self._end_origin = last_lsn, batch.origin_epoch

    def _give(self, batch: VolumeRedoBatch) -> None:
        taken = 0
        for point in batch.consistency_points:
            count = point - batch.first_lsn + 1
            self._open.extend(batch.payloads[taken:count])
            self._points.append(ConsistencyPoint(self.given_lsn + 1, self._open))
            self.given_lsn, self._open, taken = point, [], count
        self._open.extend(batch.payloads[taken:])

    def take_points(self) -> list[ConsistencyPoint]:
        """Consistency points that are new, in order. The caller takes them after each call that gave something in."""
        points, self._points = self._points, []
        return points

    def missing(self) -> tuple[int, int]:
        """First and last LSN that are durable and lacking, up to the next that is held; (0, 0) for none."""
        if self._end_lsn >= self.durable_lsn or self._end_lsn + 1 in self._held:
            return 0, 0
        return self._end_lsn + 1, min([self.durable_lsn, *(first - 1 for first in self._held)])

    def held(self) -> tuple[int, int]:
        """Records that wait, and their bytes."""
        return self._held_records, self._held_bytes
