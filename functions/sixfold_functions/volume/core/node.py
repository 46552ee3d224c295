"""A storage copy's protocol: which records count, which are fenced off, what it may acknowledge.

A copy has an `epoch`, the newest that it knows and the only one whose writer it obeys, and a `log_epoch`, the epoch
that its prefix is a prefix of. They differ between a bump and the moment when the copy holds all that the new epoch
began with; only then does its word count for the new writer, and for a later recovery. (Raft's and Neon's lesson: the
last record's epoch alone would let a recovery prefer a copy that is ahead in number and behind in truth.)

A copy that lost its log may have acknowledged records that it has not got any more, so a recovery that believed it
could miss them. It is `joining` then: it gets everything from the others and its word counts for nothing, until the
writer, who heard of it after the loss, said how far the volume goes, and it holds all that.

Everything that changes a copy is stored first and replayed on start through these same methods.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeCopyAdmitted,
    VolumeEpochBumped,
    VolumeMembershipChanged,
    VolumeRangeTruncated,
    VolumeRedoBatch,
    VolumeRestored,
)
from sixfold_functions.volume.core.membership import FIRST, of_event
from sixfold_functions.volume.core.prefix import End, Entry, Prefix
from sixfold_functions.volume.core.state import NodeState

P = TypeVar("P")
Redo = (
    VolumeRedoBatch
    | VolumeEpochBumped
    | VolumeRangeTruncated
    | VolumeCopyAdmitted
    | VolumeMembershipChanged
    | VolumeRestored
)


def entry_of(event: VolumeRedoBatch, place: P) -> Entry[P]:
    """What a copy knows of a batch that its shell stored at `place`."""
    return Entry(
        first_lsn=event.first_lsn,
        last_lsn=event.first_lsn + len(event.payloads) - 1,
        backlink_epoch=event.backlink_epoch,
        origin_epoch=event.origin_epoch,
        consistent_lsn=event.consistency_points[-1] if event.consistency_points else 0,
        append_offset=max(event.request_offsets) + 1 if event.request_offsets else 0,
        place=place,
    )


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
        self.annulled: VolumeRangeTruncated | None = None
        """A recovery that annuls what this copy knows to be durable: more copies were lost than the quorum bears."""
        self._durable_lsn = 0
        self._heard_durable_lsn = 0
        self._began_at: int | None = None
        """Where the volume of `epoch` began, once its truncation was read."""
        self.beginning: VolumeRangeTruncated | None = None
        """That truncation, for copies that did not get it."""
        self._joining = 0
        """The incarnation that began without a log; 0 for a copy that counts."""
        self._admitted_lsn: int | None = None
        self.clock_ms = 0
        """Highest stamp that was stored: a quorum that stored one lets no later writer stamp a record with less."""
        self.low_water_lsn = 0
        """Nobody reads the volume at a lower LSN: what only such states need may go, as far as it is settled here."""
        self.held_lsn = self.trimmed_lsn = 0
        """Backups have all up to the one; the user gave up all up to the other."""
        self._heard_ms = 0
        """Highest of those of `epoch`'s writer; an older writer's clock may have been ahead."""
        self.origin: VolumeRestored | None = None
        """Whose past this volume has, where it was restored from a backup."""
        self.membership = FIRST
        self.membership_event: VolumeMembershipChanged | None = None
        """The word that `membership` comes from; None where no writer ever said anything."""

    @property
    def removed(self) -> bool:
        """Whether the volume goes on without this copy."""
        return self.membership.is_removed(self.copy)

    @property
    def settled_lsn(self) -> int:
        """Up to here the copy's records are durable: no recovery can change them."""
        return min(self._durable_lsn, self.prefix.complete_lsn)

    @property
    def joining(self) -> bool:
        """Whether the copy's word counts for nothing yet."""
        return self._joining != 0

    def start(self, incarnation: int) -> None:
        """The copy's process starts once more."""
        self.incarnation = incarnation
        self._said = 0

    def join(self) -> None:
        """The copy lost its log, and its partition does not reach back to the beginning."""
        self._joining = self.incarnation

    def take(self, event: Redo, place: P) -> bool:
        """Apply a record of the copy's partition. True if it must be stored, as everything that changed the copy."""
        if event.volume != self.volume or event.epoch < self.epoch:
            return False  # another volume's, or a zombie's: fenced off
        if isinstance(event, VolumeRestored) and self.epoch:
            return False  # a past is what a volume begins with
        changed = event.epoch > self.epoch
        if isinstance(event, VolumeRangeTruncated) and self._annuls(event):
            self.annulled = event
            return False
        if changed:
            self.epoch, self.writer = event.epoch, ""
            self._began_at, self._heard_durable_lsn, self._admitted_lsn, self._heard_ms = None, 0, None, 0
            self.beginning = None
            self.prefix.forget_islands()
        match event:
            case VolumeEpochBumped():
                changed = changed or self.writer != event.writer
                self.writer = event.writer
            case VolumeRangeTruncated():
                changed = self._truncate(event) or changed
            case VolumeCopyAdmitted():
                changed = self._admit(event) or changed
            case VolumeRestored():
                changed = self._begin_restored(event) or changed
            case VolumeMembershipChanged():
                changed = self._members(event) or changed
            case VolumeRedoBatch():
                changed = self._batch(event, place) or changed
        return changed

    def _annuls(self, event: VolumeRangeTruncated) -> bool:
        news = event.epoch > self.epoch or self._began_at is None
        return news and event.durable_lsn < self.prefix.floor_lsn

    def _truncate(self, event: VolumeRangeTruncated) -> bool:
        if self._began_at is not None:
            return False
        self._began_at, self.beginning = event.durable_lsn, event
        if self.log_epoch == event.source_epoch:
            self.prefix.cut(event.durable_lsn)  # both are prefixes of the same volume
        else:
            # Only what is durable is sure to agree. The rest stays until it can be replaced: it may be durable
            # without this copy knowing, and this copy may be asked in another recovery before it is filled.
            self.prefix.branch(min(self.settled_lsn, event.durable_lsn))
        self._connect()
        return True

    def _begin_restored(self, event: VolumeRestored) -> bool:
        self.origin = event
        self.clock_ms = max(self.clock_ms, event.at_ms)
        self._began_at = 0
        if event.shared:
            self._began_at = self._durable_lsn = event.last_lsn
            self.prefix.begin(End(event.last_lsn, event.last_epoch, event.last_lsn, event.last_epoch))
        self._connect()
        return True

    def begin_at(self, end: End, clock_ms: int) -> bool:
        """Another copy gave what all records up to `end` make, which is durable: go on from there.

        The copy is in an epoch that knew them to be durable, so no truncation that it may still read annuls them. False
        where it holds more, of an older epoch: that may be durable, and stays until all of it can be replaced.
        """
        lsn, filled = end.last_lsn, self._began_at is not None and end.last_lsn >= self._began_at
        if lsn <= self.prefix.chained_lsn or (lsn <= self.prefix.complete_lsn and not filled):
            return False
        self.clock_ms = max(self.clock_ms, clock_ms)
        self._durable_lsn = max(self._durable_lsn, end.last_lsn)
        self.prefix.begin_at(end)
        self._connect()
        return True

    def _admit(self, event: VolumeCopyAdmitted) -> bool:
        if event.copy != self.copy or not self._joining or event.incarnation < self._joining:
            return False
        self._admitted_lsn = event.last_lsn
        self.prefix.seen_lsn = max(self.prefix.seen_lsn, event.last_lsn)
        self._connect()
        return True

    def _members(self, event: VolumeMembershipChanged) -> bool:
        told = of_event(event)
        if told.key <= self.membership.key:
            return False
        self.membership, self.membership_event = told, event
        return True

    def _batch(self, event: VolumeRedoBatch, place: P) -> bool:
        before = self._heard_durable_lsn, self._durable_lsn
        settled_before = self.settled_lsn
        self._heard_durable_lsn = max(self._heard_durable_lsn, event.durable_lsn)
        entry = entry_of(event, place)
        self.prefix.seen_lsn = max(self.prefix.seen_lsn, entry.last_lsn)
        held = bool(event.payloads) and not self.prefix.knows(entry) and self.prefix.hold(entry)
        self._connect()
        told = not event.payloads and event.committed_at_ms > self._heard_ms
        if held or told:
            self._heard_ms = max(self._heard_ms, event.committed_at_ms)
            self.clock_ms = max(self.clock_ms, event.committed_at_ms)
        if held or told or self.settled_lsn > settled_before:
            self.low_water_lsn = max(self.low_water_lsn, event.low_water_lsn)
            self.held_lsn = max(self.held_lsn, event.held_lsn)
            self.trimmed_lsn = max(self.trimmed_lsn, event.trimmed_lsn)
            return True
        # What is not stored must leave nothing behind, or the copy would be another one after a restart.
        self._heard_durable_lsn, self._durable_lsn = before
        return False

    def _connect(self) -> None:
        if self.log_epoch != self.epoch:
            if self._began_at is None:
                return
            if self.prefix.chained_lsn < self._began_at:
                # Far behind: what is durable need not wait for the rest in memory.
                if self.prefix.connect_durable(self._heard_durable_lsn):
                    self._durable_lsn = max(self._durable_lsn, self.prefix.complete_lsn)
                    self.prefix.release(self.settled_lsn)
                return
            self.log_epoch = self.epoch
        self.prefix.connect()
        self._durable_lsn = max(self._durable_lsn, self._heard_durable_lsn)
        self.prefix.release(self.settled_lsn)
        if self._admitted_lsn is not None and self.prefix.complete_lsn >= self._admitted_lsn:
            self._joining, self._admitted_lsn = 0, None

    @property
    def begun(self) -> bool:
        """Whether the copy knows where the volume of its epoch began, so that it can be filled."""
        return self._began_at is not None or self.log_epoch == self.epoch

    def missing(self) -> tuple[int, int]:
        """The first gap; (0, 0) for none, and while a recovery is under way, which will say what belongs here."""
        return self.prefix.missing(self._began_at or 0) if self.begun else (0, 0)

    def acknowledgement(self) -> VolumeCopyAcknowledged:
        """What the copy may say once all that it took is fsynced."""
        self._said += 1
        missing_first, missing_last = self.missing()
        end = self.prefix.end
        return VolumeCopyAcknowledged(
            volume=self.volume,
            copy=self.copy,
            incarnation=self.incarnation,
            sequence=self._said,
            epoch=self.epoch,
            writer=self.writer,
            log_epoch=self.log_epoch,
            complete_lsn=end.last_lsn,
            consistent_lsn=end.consistent_lsn,
            consistent_epoch=end.consistent_epoch,
            settled_lsn=self.settled_lsn,
            missing_first_lsn=missing_first,
            missing_last_lsn=missing_last,
            append_offset=end.append_offset,
            joining=self.joining,
            clock_ms=self.clock_ms,
            heard_ms=self._heard_ms,
            membership_version=self.membership.version,
            membership_epoch=self.membership.epoch,
            membership_settled=self.membership.settled,
        )

    def readable_lsn(self, epoch: int, durable_lsn: int) -> int:
        """Up to where a reader may read that knows the volume of `epoch` to be durable up to `durable_lsn`."""
        agreed = min(durable_lsn, self.prefix.complete_lsn) if self.log_epoch >= epoch else 0
        return max(agreed, self.settled_lsn)

    def state(self) -> NodeState[P]:
        """For a checkpoint."""
        return NodeState(
            incarnation=self.incarnation,
            epoch=self.epoch,
            writer=self.writer,
            log_epoch=self.log_epoch,
            durable_lsn=self._durable_lsn,
            heard_durable_lsn=self._heard_durable_lsn,
            began_at=self._began_at,
            joining=self._joining,
            admitted_lsn=self._admitted_lsn,
            prefix=self.prefix.state(),
            clock_ms=self.clock_ms,
            beginning=self.beginning,
            low_water_lsn=self.low_water_lsn,
            heard_ms=self._heard_ms,
            origin=self.origin,
            membership=self.membership_event,
            held_lsn=self.held_lsn,
            trimmed_lsn=self.trimmed_lsn,
        )

    def restore(self, state: NodeState[P]) -> None:
        """Be what `state` was taken of."""
        self.incarnation, self.epoch, self.writer = state.incarnation, state.epoch, state.writer
        self.log_epoch, self._began_at = state.log_epoch, state.began_at
        self._durable_lsn, self._heard_durable_lsn = state.durable_lsn, state.heard_durable_lsn
        self._joining, self._admitted_lsn = state.joining, state.admitted_lsn
        self.clock_ms, self.low_water_lsn = state.clock_ms, state.low_water_lsn
        self.held_lsn, self.trimmed_lsn = state.held_lsn, state.trimmed_lsn
        self.beginning, self.origin, self._heard_ms = state.beginning, state.origin, state.heard_ms
        self.membership_event = state.membership
        self.membership = FIRST if state.membership is None else of_event(state.membership)
        self.prefix.restore(state.prefix)
