"""Recovery: how a writer takes a volume over. A table of states; `DIAGRAM` in the design page is made from it.

1. BUMPING: the new epoch goes into all six partitions. Once three copies have stored it, no write quorum of an older
   epoch can form any more, and one of the three holds every durable record. (A copy that lost its log and is being
   filled is none of the three.) A writer may begin with an old membership: where one of the copies reports a newer one,
   that is learnt from it and the bump goes to its members as well, until three copies of each set that counts, and of
   each that counted in the version before, have reported none that is newer.
2. GATHERING: a short grace for the other copies, so that fewer records need to be sent again.
3. TRUNCATING: the copy with the highest (log epoch, SCL) is the source; its last consistency point is where the epoch
   begins, and everything above is annulled in all partitions.
4. FILLING: copies that lack records below that point get them from the source.
5. ESTABLISHED: four copies hold all that the epoch began with; appends begin.

It may be given up and begun anew with a higher epoch at any point: it annuls nothing durable. SUPERSEDED is the end:
a newer writer was seen after this one had the volume.
Sources: Aurora, SIGMOD 2017, section 4.3; Neon, safekeeper-protocol.md (the comparison by epoch first).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core import changing
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.membership import FIRST, Membership
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum, Sets


class State(enum.Enum):
    IDLE = "idle"
    BUMPING = "bumping"
    GATHERING = "gathering"
    TRUNCATING = "truncating"
    FILLING = "filling"
    ESTABLISHED = "established"
    SUPERSEDED = "superseded"


class Happened(enum.Enum):
    BEGUN = "begun"
    READ_QUORUM = "read quorum has the bump"
    ALL_OR_GRACE_OVER = "all copies answered, or the grace is over"
    TRUNCATION_SENT = "truncation sent"
    WRITE_QUORUM = "write quorum has caught up"
    MEMBERS_LEARNT = "newer membership learnt"
    NEWER_EPOCH = "newer epoch seen"


TRANSITIONS: dict[tuple[State, Happened], State] = {
    (State.IDLE, Happened.BEGUN): State.BUMPING,
    (State.BUMPING, Happened.READ_QUORUM): State.GATHERING,
    (State.BUMPING, Happened.MEMBERS_LEARNT): State.BUMPING,
    (State.BUMPING, Happened.NEWER_EPOCH): State.IDLE,
    (State.BUMPING, Happened.BEGUN): State.BUMPING,
    (State.GATHERING, Happened.ALL_OR_GRACE_OVER): State.TRUNCATING,
    (State.GATHERING, Happened.MEMBERS_LEARNT): State.BUMPING,
    (State.GATHERING, Happened.NEWER_EPOCH): State.IDLE,
    (State.GATHERING, Happened.BEGUN): State.BUMPING,
    (State.TRUNCATING, Happened.TRUNCATION_SENT): State.FILLING,
    (State.TRUNCATING, Happened.NEWER_EPOCH): State.IDLE,
    (State.TRUNCATING, Happened.BEGUN): State.BUMPING,
    (State.FILLING, Happened.WRITE_QUORUM): State.ESTABLISHED,
    (State.FILLING, Happened.BEGUN): State.BUMPING,
    (State.FILLING, Happened.NEWER_EPOCH): State.IDLE,
    (State.ESTABLISHED, Happened.NEWER_EPOCH): State.SUPERSEDED,
}


@dataclass(frozen=True)
class Beginning:
    """Where the volume of the new epoch begins."""

    source: VolumeCopyAcknowledged
    """The copy whose records it takes over."""
    durable_lsn: int
    """What is above is annulled."""
    last_epoch: int
    """Origin epoch of the record there."""


def all_of(source: VolumeCopyAcknowledged) -> Beginning:
    """All that the copy which said this has, up to its last consistency point."""
    return Beginning(source, source.consistent_lsn, source.consistent_epoch)


class Recovery:
    """One writer's way to the volume. The shell publishes what the states ask for."""

    def __init__(
        self, tag: int, *, grace_s: float, membership: Membership = FIRST, quorum: Quorum = FOUR_OF_SIX
    ) -> None:
        self.state = State.IDLE
        self.epoch = epochs.NONE
        self.beginning: Beginning | None = None
        self.reports: dict[str, VolumeCopyAcknowledged] = {}
        """What each copy that has stored the bump holds."""
        self.newest_seen = epochs.NONE
        self.superseded_by: VolumeCopyAcknowledged | None = None
        self.membership = membership
        """The newest that is known."""
        self.tag = tag
        """Its writer's part of its epochs."""
        self._grace_s = grace_s
        self._grace_until: float | None = None
        self._quorum = quorum

    def _move(self, happened: Happened) -> None:
        self.state = TRANSITIONS[self.state, happened]

    def begin(self, newest_known: int = 0) -> int:
        """Start, or start over: the epoch to bump to."""
        self.newest_seen = max(self.newest_seen, newest_known, self.epoch)
        self.epoch = epochs.after(self.newest_seen, self.tag)
        self.reports, self.beginning, self._grace_until = {}, None, None
        self._move(Happened.BEGUN)
        return self.epoch

    def on_ack(self, ack: VolumeCopyAcknowledged, now: float) -> None:
        """Take a copy's word."""
        self.newest_seen = max(self.newest_seen, ack.epoch)
        if ack.copy not in self.membership.members:
            return  # it has nothing to say here, not even that there is a newer writer
        if ack.epoch > self.epoch and (self.state, Happened.NEWER_EPOCH) in TRANSITIONS:
            self._move(Happened.NEWER_EPOCH)
            if self.state is State.SUPERSEDED:
                self.superseded_by = ack
            return
        gathering = self.state in (State.BUMPING, State.GATHERING)
        if ack.joining and gathering:
            self.reports.pop(ack.copy, None)  # what it held, and what it had promised, is gone
        if ack.epoch != self.epoch:
            return
        if gathering and not ack.joining:
            self.reports[ack.copy] = ack
        self._count(now)
        self.on_time(now)

    def _count(self, now: float) -> None:
        if self.state is State.BUMPING and not self.newer() and self._quorum.reads(self.reports, self._sets):
            self._move(Happened.READ_QUORUM)
            self._grace_until = now + self._grace_s

    @property
    def _sets(self) -> Sets:
        return self.membership.counting

    def newer(self) -> list[str]:
        """Copies whose membership is newer than the one that is known: one of them must be asked for it."""
        return [copy for copy, ack in self.reports.items() if changing.is_newer(ack, self.membership)]

    def learn(self, membership: Membership, now: float) -> bool:
        """A copy, or whoever keeps a hint, has this membership. True if it is newer and the bump is due to its members."""
        if membership.key <= self.membership.key or (self.state, Happened.MEMBERS_LEARNT) not in TRANSITIONS:
            return False
        self.membership = membership
        self.reports = {copy: ack for copy, ack in self.reports.items() if copy in membership.members}
        self._move(Happened.MEMBERS_LEARNT)
        self._count(now)
        return True

    def on_time(self, now: float) -> None:
        """Let the grace run out."""
        if self.state is not State.GATHERING or self._grace_until is None:
            return
        if self.newer():
            return  # a copy that came late knows of a later change
        if len(self.reports) == len(self.membership.members) or now >= self._grace_until:
            source = max(self.reports.values(), key=lambda ack: (ack.log_epoch, ack.complete_lsn, ack.copy))
            self.beginning = all_of(source)
            self._move(Happened.ALL_OR_GRACE_OVER)

    def clock_ms(self) -> int:
        """Highest stamp that the copies which reported have stored; every durable record's and promise's is among them."""
        return max((ack.clock_ms for ack in self.reports.values()), default=0)

    def begin_at(self, lsn: int, last_epoch: int) -> None:
        """Take over less of the source: up to a consistency point below its last one, whose record is of `last_epoch`.

        For one group of several: its records above are durable in no volume (`core/reunion.py`).
        """
        assert self.state is State.TRUNCATING, self.state
        assert self.beginning is not None
        source = self.beginning.source
        assert source.settled_lsn <= lsn <= source.consistent_lsn, (source, lsn)
        self.beginning = Beginning(source, lsn, last_epoch)

    def truncation_sent(self) -> None:
        """The truncation is in the partitions."""
        self._move(Happened.TRUNCATION_SENT)

    def write_quorum(self) -> None:
        """Four copies hold what the epoch began with."""
        self._move(Happened.WRITE_QUORUM)
