"""A storage copy's protocol: which records count, which are fenced off, what it may acknowledge.

A copy has an `epoch`, the newest that it knows and the only one whose writer it obeys, and a `log_epoch`, the epoch
that its prefix is a prefix of. They differ between a bump and the moment when the copy holds all that the new epoch
began with; only then does its word count for the new writer, and for a later recovery. (Raft's and Neon's lesson: the
last record's epoch alone would let a recovery prefer a copy that is ahead in number and behind in truth.)

Everything that changes a copy is stored first and replayed on start through these same methods.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeEpochBumped,
    VolumeRangeTruncated,
    VolumeRedoBatch,
)
from sixfold_functions.volume.core.prefix import Entry, Prefix

P = TypeVar("P")
Redo = VolumeRedoBatch | VolumeEpochBumped | VolumeRangeTruncated


class StorageNode(Generic[P]):
    """One copy of a volume. `take` says whether a record is to be stored; `acknowledgement` what may be said of it."""

    def __init__(self, volume: str, copy: str) -> None:
        self.volume = volume
        self.copy = copy
        self.incarnation = 0
        self._said = 0
        self.epoch = 0
        self.writer = ""
        self.log_epoch = 0
        self.prefix: Prefix[P] = Prefix()
        self._durable_lsn = 0
        self._heard_durable_lsn = 0
        self._began_at: int | None = None
        """Where the volume of `epoch` began, once its truncation was read."""

    @property
    def settled_lsn(self) -> int:
        """Up to here the copy's records are durable: no recovery can change them."""
        return min(self._durable_lsn, self.prefix.complete_lsn)

    def start(self, incarnation: int) -> None:
        """The copy's process starts once more."""
        self.incarnation = incarnation
        self._said = 0

    def take(self, event: Redo, place: P) -> bool:
        """Apply a record of the copy's partition. True if it must be stored, as everything that changed the copy."""
        if event.volume != self.volume or event.epoch < self.epoch:
            return False  # another volume's, or a zombie's: fenced off
        changed = event.epoch > self.epoch
        if changed:
            self.epoch, self.writer = event.epoch, ""
            self._began_at, self._heard_durable_lsn = None, 0
            self.prefix.forget_islands()
        if isinstance(event, VolumeEpochBumped):
            changed = changed or self.writer != event.writer
            self.writer = event.writer
            return changed
        if isinstance(event, VolumeRangeTruncated):
            return self._truncate(event) or changed
        return self._batch(event, place) or changed

    def _truncate(self, event: VolumeRangeTruncated) -> bool:
        if self._began_at is not None:
            return False
        self._began_at = event.durable_lsn
        if self.log_epoch == event.source_epoch:
            self.prefix.cut(event.durable_lsn)  # both are prefixes of the same volume
        else:
            # Only what is durable is sure to agree. The rest stays until it can be replaced: it may be durable
            # without this copy knowing, and this copy may be asked in another recovery before it is filled.
            self.prefix.branch(min(self.settled_lsn, event.durable_lsn))
        self._connect()
        return True

    def _batch(self, event: VolumeRedoBatch, place: P) -> bool:
        self._heard_durable_lsn = max(self._heard_durable_lsn, event.durable_lsn)
        last_lsn = event.first_lsn + len(event.payloads) - 1
        self.prefix.seen_lsn = max(self.prefix.seen_lsn, last_lsn)
        entry = Entry(
            first_lsn=event.first_lsn,
            last_lsn=last_lsn,
            backlink_epoch=event.backlink_epoch,
            origin_epoch=event.origin_epoch,
            consistent_lsn=event.consistency_points[-1] if event.consistency_points else 0,
            append_offset=max(event.request_offsets) + 1 if event.request_offsets else 0,
            place=place,
        )
        if not event.payloads or self.prefix.knows(entry):
            before = self.settled_lsn
            self._connect()
            return self.settled_lsn > before  # only the word that more is durable
        self.prefix.hold(entry)
        self._connect()
        return True

    def _connect(self) -> None:
        if self.log_epoch != self.epoch:
            if self._began_at is None or self.prefix.chained_lsn < self._began_at:
                return
            self.log_epoch = self.epoch
        self.prefix.connect()
        self._durable_lsn = max(self._durable_lsn, self._heard_durable_lsn)

    def acknowledgement(self) -> VolumeCopyAcknowledged:
        """What the copy may say once all that it took is fsynced."""
        self._said += 1
        missing_first, missing_last = self.prefix.missing(self._began_at or 0)
        if self._began_at is None and self.log_epoch != self.epoch:
            missing_first = missing_last = 0  # a recovery is under way; it will say what belongs here
        return VolumeCopyAcknowledged(
            volume=self.volume,
            copy=self.copy,
            incarnation=self.incarnation,
            sequence=self._said,
            epoch=self.epoch,
            writer=self.writer,
            log_epoch=self.log_epoch,
            complete_lsn=self.prefix.complete_lsn,
            consistent_lsn=self.prefix.consistent_lsn,
            consistent_epoch=self.prefix.consistent_epoch,
            settled_lsn=self.settled_lsn,
            missing_first_lsn=missing_first,
            missing_last_lsn=missing_last,
            append_offset=self.prefix.append_offset,
        )

    def readable_lsn(self, epoch: int, durable_lsn: int) -> int:
        """Up to where a reader may read that knows the volume of `epoch` to be durable up to `durable_lsn`."""
        agreed = min(durable_lsn, self.prefix.complete_lsn) if self.log_epoch >= epoch else 0
        return max(agreed, self.settled_lsn)
