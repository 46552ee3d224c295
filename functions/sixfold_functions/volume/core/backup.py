"""Backing a volume up: what may be taken, which objects make a whole, what to merge, what may go. Pure.

An object's name says which records it has, and when they were committed: 20 digits each, so that the names of a listing
are in the order of LSNs. Objects never change. Several may hold the same records, since two processes may back one
volume up and small objects are merged into larger ones; a `chain` picks those that make a whole.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from sixfold_events.volume import VolumeCopyAcknowledged, VolumeRedoBatch
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.membership import FIRST, Membership
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum

OBJECT_BYTES_MAX = 64 * 1024 * 1024
"""Objects are merged up to this; one is read, checked and written in memory."""
_NAME = re.compile(r"redo/(\d)/(\d{20})-(\d{20})-(\d{20})-(\d{20})")
_PART = re.compile(r"pages/(\d{20})-(\d{20})/(\d{20})-(\d{20})(-end)?")
_QUIET = re.compile(r"quiet/(\d{20})-(\d{20})")
_HOUR_MS = 3_600_000


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """A batch of records as a backup keeps it: nothing of the writer that sent it, or of who asked for it."""

    first_lsn: int
    origin_epoch: int
    backlink_epoch: int
    committed_at_ms: int
    consistency_points: list[int]
    payloads: list[bytes]

    @property
    def last_lsn(self) -> int:
        return self.first_lsn + len(self.payloads) - 1


class Piece(NamedTuple):
    """One object of a backup: a part of the log, or of a snapshot, whose records have numbers of their own from 1 on."""

    level: int
    """Of the ladder: 0 as it was taken, 1 five minutes, 2 an hour, 3 a day."""
    first_lsn: int
    last_lsn: int
    first_ms: int
    last_ms: int
    size: int = 0
    snapshot_lsn: int = 0
    """Of the snapshot that it is a part of; 0 for a part of the log."""
    ends: bool = False
    """Whether the snapshot ends with it."""

    @property
    def name(self) -> str:
        if self.snapshot_lsn:
            end = "-end" if self.ends else ""
            place = f"pages/{self.snapshot_lsn:020d}-{self.last_ms:020d}"
            return f"{place}/{self.first_lsn:020d}-{self.last_lsn:020d}{end}"
        return f"redo/{self.level}/{self.first_lsn:020d}-{self.last_lsn:020d}-{self.first_ms:020d}-{self.last_ms:020d}"


class Quiet(NamedTuple):
    """Beyond `last_lsn` no record has a stamp of `until_ms` or less."""

    until_ms: int
    last_lsn: int

    @property
    def name(self) -> str:
        return f"quiet/{self.until_ms:020d}-{self.last_lsn:020d}"


def piece(name: str, size: int) -> Piece | None:
    """The object with that name; None where it is none of ours."""
    if (found := _NAME.fullmatch(name)) is not None:
        level, first_lsn, last_lsn, first_ms, last_ms = map(int, found.groups())
        return Piece(level, first_lsn, last_lsn, first_ms, last_ms, size)
    if (found := _PART.fullmatch(name)) is not None:
        lsn, at_ms, first_lsn, last_lsn = map(int, found.groups()[:4])
        return Piece(0, first_lsn, last_lsn, at_ms, at_ms, size, lsn, bool(found.group(5)))
    return None


def quiet(name: str) -> Quiet | None:
    """As `piece`, for the word that nothing came."""
    found = _QUIET.fullmatch(name)
    return Quiet(*map(int, found.groups())) if found else None


# -- taking ------------------------------------------------------------------------------------------------------------


class HistoryError(ValueError):
    """A record does not follow what the backup has: it is of another volume with the same name."""


class Tail(NamedTuple):
    """Where a backup ends, and with what the next record must be connected."""

    last_lsn: int = 0
    origin_epoch: int = 0
    last_ms: int = 0

    def taken(self, batches: Iterable[VolumeRedoBatch], settled_lsn: int) -> Iterator[Batch]:
        """Those of a copy's stored `batches` that come next and that no recovery can change any more.

        Raises HistoryError.
        """
        tail = self
        for batch in batches:
            last_lsn = batch.first_lsn + len(batch.payloads) - 1
            if last_lsn <= tail.last_lsn:
                continue
            if last_lsn > settled_lsn or batch.first_lsn != tail.last_lsn + 1:
                return
            if batch.backlink_epoch != tail.origin_epoch or batch.committed_at_ms < tail.last_ms:
                raise HistoryError(
                    f"the record at LSN {batch.first_lsn} follows one of epoch {epochs.text(batch.backlink_epoch)} and was "
                    f"committed at {batch.committed_at_ms} ms; the one before it in the backup is of epoch "
                    f"{epochs.text(tail.origin_epoch)} and was committed at {tail.last_ms} ms"
                )
            tail = Tail(last_lsn, batch.origin_epoch, batch.committed_at_ms)
            yield Batch(
                batch.first_lsn,
                batch.origin_epoch,
                batch.backlink_epoch,
                batch.committed_at_ms,
                batch.consistency_points,
                batch.payloads,
            )


def promise(
    acks: Iterable[VolumeCopyAcknowledged], quorum: Quorum = FOUR_OF_SIX, *, membership: Membership = FIRST
) -> Quiet | None:
    """What the copies' words, all asked anew, say about a time up to which all records are known and durable.

    A copy without a gap and with nothing that may still change has all that its epoch's writer stamped with less than
    the highest stamp it heard. Once a write quorum of the epoch, one of each set of `membership` that counts, has stored
    a stamp, every later writer begins above it. Nothing is said where a copy knows of a later membership.
    """
    voting = [ack for ack in acks if not ack.joining]
    epoch = max((ack.epoch for ack in voting), default=0)
    voting = [ack for ack in voting if ack.epoch == epoch]
    if any(ack.membership_version > membership.version for ack in voting):
        return None  # whoever asked has not heard of it yet
    stored_ms = quorum.joint_durable_lsn({ack.copy: ack.heard_ms for ack in voting}, membership.counting)
    found = [
        Quiet(min(stored_ms, ack.heard_ms) - 1, ack.settled_lsn)
        for ack in voting
        if ack.log_epoch == epoch and not ack.missing_last_lsn and ack.complete_lsn == ack.settled_lsn
    ]
    best = max(found, default=None)
    return best if best is not None and best.until_ms > 0 else None


# -- what there is -----------------------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """All pages of a volume as they are at a consistency point, as records: the log up to there, without what it says
    no more.
    """

    lsn: int
    at_ms: int
    """When the record at `lsn` was committed: a later record has this stamp or a higher one."""
    pieces: list[Piece]

    @property
    def records(self) -> int:
        """How many there are in place of the log's."""
        return self.pieces[-1].last_lsn

    @property
    def size(self) -> int:
        """Bytes of its objects."""
        return sum(piece.size for piece in self.pieces)


def snapshots(parts: Iterable[Piece]) -> list[Snapshot]:
    """Those of which every object is there, oldest first."""

    def place(part: Piece) -> tuple[int, int]:
        return part.snapshot_lsn, part.last_ms

    found = []
    for (lsn, at_ms), group in itertools.groupby(sorted(parts, key=place), key=place):
        whole = _linked(group, 0).pieces
        if whole and whole[-1].ends:
            found.append(Snapshot(lsn, at_ms, whole))
    return found


class Chain(NamedTuple):
    """Objects that have every record behind the base, once or more often."""

    pieces: list[Piece]
    beyond: list[Piece]
    """What lies behind a gap."""
    base: Snapshot | None = None
    """What stands for the records before; None where the log is there from its first record on."""

    @property
    def base_lsn(self) -> int:
        """Up to here there is no log."""
        return self.base.lsn if self.base is not None else 0

    @property
    def last_lsn(self) -> int:
        return self.pieces[-1].last_lsn if self.pieces else self.base_lsn

    @property
    def last_ms(self) -> int:
        return self.pieces[-1].last_ms if self.pieces else self.first_ms

    @property
    def first_ms(self) -> int:
        """The earliest restorable time."""
        if self.base is not None:
            return self.base.at_ms
        return self.pieces[0].first_ms if self.pieces else 0


def chain(pieces: Iterable[Piece], bases: Sequence[Snapshot] = ()) -> Chain:
    """The whole, of as few objects as possible: from the oldest base on from which it reaches as far as from any."""
    log = list(pieces)
    best = _linked(log, 0)
    for base in bases:
        if best.beyond or base.lsn > best.last_lsn:
            best = max(best, _linked(log, base.lsn)._replace(base=base), key=lambda each: each.last_lsn)
    return best


def eras(pieces: Iterable[Piece], bases: Sequence[Snapshot] = ()) -> list[Chain]:
    """The whole as the last one, and before it what was there until records were gone, oldest first.

    A backup that lacks records goes on behind a snapshot; what it had before can still be restored.
    """
    log = list(pieces)
    found = [chain(log, bases)]
    while (base := found[0].base) is not None:
        log = [each for each in log if each.first_lsn <= base.lsn]
        before = chain(log, [each for each in bases if each.lsn < base.lsn])
        if not before.pieces:
            break
        found.insert(0, before)
    return found


def _linked(pieces: Iterable[Piece], lsn: int) -> Chain:
    """What follows `lsn` without a gap."""
    waiting = sorted(pieces, key=lambda each: (-each.first_lsn, each.last_lsn, each.level))
    found: list[Piece] = []
    best: Piece | None = None
    while True:
        while waiting and waiting[-1].first_lsn <= lsn + 1:
            each = waiting.pop()
            if best is None or (each.last_lsn, each.level) > (best.last_lsn, best.level):
                best = each
        if best is None or best.last_lsn <= lsn:
            return Chain(found, waiting[::-1])
        found.append(best)
        lsn = best.last_lsn


def latest_ms(whole: Chain, quiets: Iterable[Quiet]) -> int:
    """The latest restorable time: all that was committed up to then is in the backup. 0 where there is none."""
    # A record that comes may have the same stamp as the last one.
    known = [whole.last_ms - 1, *(each.until_ms for each in quiets if each.last_lsn <= whole.last_lsn)]
    return max(0, *known)


# -- the ladder --------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One level of the ladder."""

    level: int
    window_ms: int


LADDER = (Step(1, 300_000), Step(2, _HOUR_MS))
TOP = Step(3, 24 * _HOUR_MS)
"""For what is older than the retention: kept, as records need all that came before, in as few objects as possible."""


class Merge(NamedTuple):
    """Objects to be made one, which then replaces them."""

    pieces: list[Piece]
    level: int


def merges(whole: Chain, latest: int, *, retention_ms: int, bytes_max: int = OBJECT_BYTES_MAX) -> list[Merge]:
    """What to merge now: neighbours whose window of time is over. Every record and its stamp is kept."""
    for step, until_ms in [(TOP, latest - retention_ms), *((step, latest) for step in reversed(LADDER))]:
        found = list(_merges(whole.pieces, step, until_ms, bytes_max))
        if found:
            return found
    return []


def _merges(pieces: Sequence[Piece], step: Step, until_ms: int, bytes_max: int) -> Iterator[Merge]:
    run: list[Piece] = []
    size = window = 0
    for each in pieces:
        its = each.last_ms // step.window_ms
        over = (its + 1) * step.window_ms <= until_ms
        if run and (not over or each.level >= step.level or its != window or size + each.size > bytes_max):
            if len(run) > 1:
                yield Merge(run, step.level)
            run, size = [], 0
        if over and each.level < step.level:
            run.append(each)
            size, window = size + each.size, its
    if len(run) > 1:
        yield Merge(run, step.level)


def superseded(pieces: Iterable[Piece], whole: Chain) -> Iterator[tuple[Piece, Piece]]:
    """Objects that the whole does not need, each with one of it that has all its records."""
    kept = set(whole.pieces)
    firsts = [each.first_lsn for each in whole.pieces]
    for each in pieces:
        place = bisect.bisect_right(firsts, each.first_lsn) - 1
        if each not in kept and place >= 0 and each.last_lsn <= whole.pieces[place].last_lsn:
            yield each, whole.pieces[place]
