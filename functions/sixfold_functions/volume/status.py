"""What a volume looks like from outside: its copies, who answers, its durable line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from sixfold_events.volume import (
    VolumeDurableAdvanced,
    VolumeReadAnswered,
    VolumeReadPointHeld,
    VolumeStatusChanged,
)
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core import layout, quorum
from sixfold_functions.volume.core.membership import FIRST, Membership, of_event
from sixfold_functions.volume.core.tracker import QuorumTracker, Standing, standing

Tracked = VolumeStatusChanged


class CopyState(msgspec.Struct, frozen=True, kw_only=True):
    """One copy."""

    copy: str
    zone: str
    state: str
    """`up`, `damaged` (up, its log is being mended), `catching up`, `older epoch`, `joining` (it lost its log and does not count until it is level) or `down`."""
    complete_lsn: int
    """SCL; the last one known of a copy that is down."""
    lag: int
    """Records that it is behind the highest copy that is known."""
    epoch: str
    incarnation: int
    damaged: int = 0
    """Places in its log that are damaged and not mended yet."""
    first_lsn: int | None = None
    """The first record that it keeps, or will; of a volume of pages it has older ones as pages. None while it is down."""
    log_bytes: int | None = None
    """Of its log on the disk, without pages; None while it is down."""


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """One read replica, by its last word."""

    replica: str
    zone: str
    copy: str
    """Whose partition it follows."""
    applied_lsn: int
    read_lsn: int
    """Oldest LSN at which somebody reads there."""
    lag: int
    """Durable records that it has not applied."""
    lag_ms: float | None
    """From commit to visible; None before anything was measured."""


class VolumeState(msgspec.Struct, frozen=True, kw_only=True):
    """A volume."""

    volume: str
    epoch: str
    durable_lsn: int
    writable: bool
    """Four copies that count answer; a writer among the processes is needed besides."""
    answering: int
    copies: list[CopyState]
    replicas: list[ReplicaState] = []
    """Those that were heard of in the last seconds."""
    version: int = 0
    """Of the membership."""
    settled: bool = True
    """Whether a write quorum has stored that version."""
    replaced: str = ""
    """The copy that is being replaced now; empty for none."""
    replacement: str = ""
    """The copy that comes in its place."""


def newest_of(answers: Iterable[VolumeReadAnswered], announced: Membership) -> Membership:
    """The newest membership that a copy has stored or a writer announced."""
    stored = [of_event(answer.membership) for answer in answers if answer.membership is not None]
    return max([announced, *stored], key=lambda each: each.key)


def read_point(
    answers: Iterable[VolumeReadAnswered],
    announced: VolumeDurableAdvanced | None,
    members: Membership = FIRST,
    *,
    group: bool = False,
) -> tuple[int, int]:
    """(epoch, LSN): what is known to be durable in which epoch's volume, from announcements and copies.

    Of a `group` only what its volume's writer told: a recovery may annul more than the group by itself would lose.
    """
    answers = list(answers)
    counted = QuorumTracker(
        epoch=max((answer.status.epoch for answer in answers), default=0), membership=newest_of(answers, members)
    )
    for answer in answers:
        counted.on_ack(answer.status)
    points = [(0, 0)] if group else [(counted.durable_lsn, counted.epoch)]
    points += [(answer.status.settled_lsn, answer.status.log_epoch) for answer in answers]
    if announced is not None:
        points.append((announced.durable_lsn, announced.epoch))
    # What was durable in one epoch is in every later one, so the highest LSN is right, with its own epoch.
    durable_lsn, epoch = max(points)
    return epoch, durable_lsn


def readable(answer: VolumeReadAnswered, epoch: int, durable_lsn: int) -> int:
    """Up to where the copy that sent `answer` can serve a reader at that read point."""
    status = answer.status
    agreed = min(status.complete_lsn, durable_lsn) if status.log_epoch >= epoch else 0
    return max(agreed, status.settled_lsn)


def state_of(
    volume: str,
    answers: Mapping[str, VolumeReadAnswered],
    tracked: Tracked | None,
    announced: VolumeDurableAdvanced | None,
    held: Iterable[VolumeReadPointHeld] = (),
    members: Membership = FIRST,
) -> VolumeState:
    """The volume, from what the copies answer now and from what was announced before."""
    members = newest_of(answers.values(), members)
    answers = {copy: answer for copy, answer in answers.items() if copy in members.members}
    replaced, replacement = members.change or ("", "")
    epoch, durable_lsn = read_point(answers.values(), announced, members, group=layout.group_of(volume) is not None)
    newest = max([epoch, *(answer.status.epoch for answer in answers.values())])
    known = {copy.copy: copy for copy in tracked.copies} if tracked is not None else {}
    highest = max([durable_lsn, *(answer.status.complete_lsn for answer in answers.values())])
    copies = []
    for place in sorted(members.member_places, key=lambda place: (place.zone, place.partition)):
        answer, last = answers.get(place.copy), known.get(place.copy)
        if answer is not None:
            ack = answer.status
            complete, copy_epoch, incarnation = ack.complete_lsn, ack.epoch, ack.incarnation
            behind = bool(ack.missing_last_lsn) or complete < durable_lsn
            state = "joining" if ack.joining else _word(standing(ack, newest), behind=behind)
            state = "damaged" if state == "up" and answer.damaged else state
        else:
            complete = last.complete_lsn if last is not None else 0
            copy_epoch = last.epoch if last is not None else 0
            incarnation = last.incarnation if last is not None else 0
            state = "down"
        copies.append(
            CopyState(
                copy=place.copy,
                zone=place.zone,
                state=state,
                complete_lsn=complete,
                lag=max(highest - complete, 0),
                epoch=epochs.text(copy_epoch),
                incarnation=incarnation,
                damaged=answer.damaged if answer is not None else 0,
                first_lsn=answer.floor_lsn + 1 if answer is not None else None,
                log_bytes=answer.log_bytes if answer is not None else None,
            )
        )
    voting = [copy for copy, answer in answers.items() if not answer.status.joining]
    return VolumeState(
        volume=volume,
        epoch=epochs.text(newest),
        durable_lsn=durable_lsn,
        writable=quorum.FOUR_OF_SIX.writes(voting, members.counting),
        answering=len(answers),
        copies=copies,
        version=members.version,
        settled=members.settled,
        replaced=replaced,
        replacement=replacement,
        replicas=replicas_of(held, volume),
    )


def replicas_of(held: Iterable[VolumeReadPointHeld], volume: str) -> list[ReplicaState]:
    """The replicas that said these words, oldest first, and did not stop."""
    newest = {event.reader: event for event in held if event.volume == volume}
    return [
        ReplicaState(
            replica=event.reader,
            zone=event.zone,
            copy=event.copy,
            applied_lsn=event.applied_lsn,
            read_lsn=event.lsn,
            lag=max(event.durable_lsn - event.applied_lsn, 0),
            lag_ms=event.lag_ms if event.lag_ms >= 0 else None,
        )
        for _, event in sorted(newest.items())
        if not event.released and event.reader != f"copy {event.copy}"  # a copy that gets another one's pages
    ]


def _word(where: Standing, *, behind: bool) -> str:
    if where is Standing.BEHIND:
        return "older epoch"
    return "catching up" if where is Standing.FILLING or behind else "up"
