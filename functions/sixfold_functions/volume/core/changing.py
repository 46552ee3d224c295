"""What a writer does about its membership: when a version is settled, when a next one follows, who is to be told."""

from __future__ import annotations

from typing import NamedTuple

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.core.tracker import QuorumTracker


def lacks(ack: VolumeCopyAcknowledged, membership: Membership) -> bool:
    """Whether the copy that said `ack` has another word on the membership than its writer's."""
    if membership.version == ack.membership_version == 0:
        return False  # the first six need no word
    return (ack.membership_epoch, ack.membership_version, ack.membership_settled) != membership.key


def has(ack: VolumeCopyAcknowledged, membership: Membership) -> bool:
    """Whether the copy that said `ack` has stored this version by the word of this writer, settled or not."""
    return (ack.membership_epoch, ack.membership_version) == (membership.epoch, membership.version)


def is_newer(ack: VolumeCopyAcknowledged, membership: Membership) -> bool:
    """Whether the copy that said `ack` has a later word than `membership`."""
    return (ack.membership_epoch, ack.membership_version, ack.membership_settled) > membership.key


def to_be_told(membership: Membership) -> list[str]:
    """Whom a writer tells as soon as it has this membership: the members, and those that must end in case they run."""
    members = membership.members
    return [copy for copy, _, _ in membership.places if copy in members or membership.is_removed(copy)]


def following(tracker: QuorumTracker) -> Membership | None:
    """What the writer of `tracker` is to make of its membership now, without being asked; None for nothing."""
    membership = tracker.membership
    if not membership.settled:
        stored = [copy for copy, ack in tracker.counted().items() if has(ack, membership)]
        return membership.settle() if tracker.holds_all(stored) else None
    if membership.change is not None and membership.change[1] in tracker.counted():
        # The new copy was admitted, so it held all that had been given out by then.
        return membership.replaced() if tracker.holds_all(tracker.counted(), membership.sets[1:]) else None
    return None


OTHERS_TOLD_MAX = 8
"""For about four minutes; one that begins to speak again is told again."""


class _Told(NamedTuple):
    key: tuple[int, int, bool]
    at: float
    said: tuple[int, int]
    """What the copy had last said then."""
    silent: int
    """How often it was told since it said that."""


class Telling:
    """Which copies are to be told the membership: those that have another one, and not again before a while.

    A copy that says nothing more is down: a member is told ever more seldom, one that was removed only some times more.
    """

    def __init__(self, *, retry_s: float = 1.0, silence_s_max: float = 60.0) -> None:
        self._retry_s = retry_s
        self._silence_s_max = silence_s_max
        self._told: dict[str, _Told] = {}
        self._others: dict[str, VolumeCopyAcknowledged] = {}
        """Last words of copies that are no members."""

    def on_other(self, ack: VolumeCopyAcknowledged) -> None:
        """A copy that is no member says something, or did so when it still was one."""
        self._others[ack.copy] = ack

    def due(self, tracker: QuorumTracker, now: float) -> list[str]:
        """Copies to tell now what the writer of `tracker` says."""
        membership, epoch = tracker.membership, tracker.epoch
        due = [ack.copy for ack in tracker.copies.values() if ack.epoch == epoch and self._tell(ack, membership, now)]
        for copy, ack in list(self._others.items()):
            if membership.place(copy) is None or not membership.is_removed(copy):
                continue  # it may be about to become one
            if self._tell(ack, membership, now):
                due.append(copy)
                if self._told[copy].silent >= OTHERS_TOLD_MAX:
                    del self._others[copy]
        return due

    def _tell(self, ack: VolumeCopyAcknowledged, membership: Membership, now: float) -> bool:
        if not lacks(ack, membership):
            return False
        said, silent = (ack.incarnation, ack.sequence), 0
        told = self._told.get(ack.copy)
        if told is not None and told.key == membership.key:
            silent = told.silent if told.said == said else 0
            if now - told.at < min(self._retry_s * 2**silent, self._silence_s_max):
                return False
        self._told[ack.copy] = _Told(membership.key, now, said, silent + 1)
        return True
