"""What a writer sends to the copies: new batches, batches sent again, the word that more is durable, truncations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

from sixfold import clock as clocks
from sixfold import publisher
from sixfold_events import Event
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeCopyAdmitted, VolumeRangeTruncated, VolumeRedoBatch
from sixfold_functions.volume import sender
from sixfold_functions.volume.core import recovery, sequencer

T = TypeVar("T")


class Carrier(Protocol):
    """Takes parcels to copies: `sender.Sender`, or a simulator's bus."""

    def send(self, parcel: sender.Parcel, copies: Iterable[str]) -> None:
        """Send `parcel` to the partitions of `copies`; returns at once."""


class RedoOutlet:
    """Makes redo events of the writer's state and sends them."""

    def __init__(
        self,
        carrier: Carrier,
        writer_recovery: recovery.Recovery,
        writer_sequencer: sequencer.Sequencer[T],
        *,
        volume: str,
        source: str,
        clock: clocks.Clock,
    ) -> None:
        self._carrier = carrier
        self._recovery = writer_recovery
        self._sequencer = writer_sequencer
        self._volume = volume
        self._source = source
        self._clock = clock
        self.durable_at_ms = 0
        """When the durable LSN became durable."""
        self.told_lsn = 0
        """The durable LSN that all copies were told."""
        self.sent_at = 0.0
        """When a batch was last sent to all copies; monotonic."""
        self.low_water: Callable[[int], int] = lambda durable_lsn: 0
        """The lowest LSN at which somebody reads."""
        self.held: Callable[[int], tuple[int, int]] = lambda low_water_lsn: (0, 0)
        """Up to where every backup is, and up to where the user gave records up."""

    def send(self, event: Event, *copies: str) -> None:
        """Send a redo event to `copies`, to all members if none are given. Encoded once: it is the same for every copy."""
        if not copies and isinstance(event, VolumeRedoBatch):
            self.told_lsn, self.sent_at = max(self.told_lsn, event.durable_lsn), self._clock.monotonic()
        record = publisher.record_of(event, source=self._source, clock=self._clock)
        assert record.value is not None
        parcel = sender.Parcel(record.value, record.headers)
        self._carrier.send(parcel, copies or self._recovery.membership.members)

    def batch(self, batch: sequencer.Batch) -> VolumeRedoBatch:
        """`batch` of this epoch."""
        epoch = self._recovery.epoch
        low_water_lsn = self.low_water(self._sequencer.durable_lsn)
        held_lsn, trimmed_lsn = self.held(low_water_lsn)
        return VolumeRedoBatch(
            volume=self._volume,
            epoch=epoch,
            origin_epoch=epoch,
            first_lsn=batch.first_lsn,
            backlink_lsn=batch.first_lsn - 1,
            backlink_epoch=batch.backlink_epoch,
            payloads=batch.payloads,
            consistency_points=batch.consistency_points,
            durable_lsn=self._sequencer.durable_lsn,
            request_ids=[request.request_id for request, _, _ in batch.requests],
            request_last_lsns=[last_lsn for _, last_lsn, _ in batch.requests],
            request_sizes=[size for _, _, size in batch.requests],
            request_offsets=[request.offset for request, _, _ in batch.requests],
            committed_at_ms=batch.committed_at_ms,
            durable_at_ms=self.durable_at_ms,
            low_water_lsn=low_water_lsn,
            held_lsn=held_lsn,
            trimmed_lsn=trimmed_lsn,
        )

    def nothing_new(self) -> VolumeRedoBatch:
        """An empty batch: how far the volume goes, what of it is durable, and up to when no more records come."""
        first_lsn, backlink_epoch = self._sequencer.last_lsn + 1, self._sequencer.backlink_epoch
        promised_ms = self._sequencer.promise(clocks.now_ms(self._clock))
        return self.batch(sequencer.Batch(first_lsn, backlink_epoch, [], [], [], 0, promised_ms))

    def from_memory(self, first_lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
        """Batches that are not durable yet; none if `first_lsn` is not among them."""
        if first_lsn < self._sequencer.window_first_lsn():
            return []
        return [self.batch(batch) for batch in self._sequencer.window(first_lsn, last_lsn)]

    def again(self, batch: VolumeRedoBatch, copy: str) -> None:
        """Send a batch that another copy had stored, in this epoch's name; its origin stays.

        What was durable when it was first sent is durable for ever, so a copy that is filled need not keep it in memory.
        """
        again = msgspec.structs.replace(batch, epoch=self._recovery.epoch)
        if self._sequencer.durable_lsn > batch.durable_lsn:
            again = msgspec.structs.replace(
                again, durable_lsn=self._sequencer.durable_lsn, durable_at_ms=self.durable_at_ms
            )
        self.send(again, copy)

    def admission(self, ack: VolumeCopyAcknowledged) -> VolumeCopyAdmitted:
        """The copy that said `ack` counts again once it holds all that was given out until now."""
        beginning = self._recovery.beginning
        assert beginning is not None
        return VolumeCopyAdmitted(
            volume=self._volume,
            epoch=self._recovery.epoch,
            copy=ack.copy,
            incarnation=ack.incarnation,
            last_lsn=max(beginning.durable_lsn, self._sequencer.last_lsn),
        )

    def truncation(self, ahead_records_max: int) -> VolumeRangeTruncated:
        """Where this epoch's volume begins."""
        beginning = self._recovery.beginning
        assert beginning is not None
        return VolumeRangeTruncated(
            volume=self._volume,
            epoch=self._recovery.epoch,
            source_epoch=beginning.source.log_epoch,
            durable_lsn=beginning.durable_lsn,
            upper_lsn=beginning.durable_lsn + ahead_records_max,
        )
