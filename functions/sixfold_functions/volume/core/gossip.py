"""Gossip: a copy gets what it lacks from another one, without the writer.

The writer fills gaps as well (`repair`), and small ones sooner: a copy asks only where its gap has lasted for a while in
which nothing below it came, or is large. It asks one question at a time (but for a large gap's batches, which the shell
asks of several peers at once): first how a peer is, then for its batches. It takes them from a
peer whose records are a prefix of its epoch's volume, and only as what that epoch's writer would have sent: the same
batch in the epoch's name. So gossip is one more way on which a record may come late or twice, and the copy's own rules
decide what counts.

A copy that has just started may have missed everything, word of it included. Once nothing comes any more it asks each
peer whether it is ahead, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeEpochBumped,
    VolumeRangeTruncated,
    VolumeReadAnswered,
    VolumeRedoBatch,
    VolumeSnapshotAnswered,
)
from sixfold_functions.volume.core import repair
from sixfold_functions.volume.core.node import Redo, StorageNode


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How patient a copy is."""

    patience_s: float = 3.0
    """A gap lasts so long, and up to as long again at random, before anybody is asked: longer than a writer's repair
    takes (0.2 s, again after 2 s), and six copies that lack the same do not ask at once."""
    retry_s: float = 2.0
    """After nobody could help, doubled each time."""
    retry_s_max: float = 60.0
    much_records: int = repair.MUCH_RECORDS
    """A copy that lacks more asks at once: the writer leaves that to it."""
    checks_max: int = 6
    """How often a copy that has just started looks for peers that did not answer: they may be starting too."""


class Rng(Protocol):
    """What is used of `random.Random`."""

    def random(self) -> float: ...

    def shuffle(self, x: list[str]) -> None: ...


class Own(NamedTuple):
    """Where the copy that asks is."""

    position: int
    """In its partition."""
    epoch: int
    begun: bool
    """Whether it knows where the volume of `epoch` began."""
    reached_lsn: int
    """What it has without a gap."""
    missing_last_lsn: int
    """Last LSN that it knows to lack; 0 for none."""

    @property
    def missing(self) -> int:
        """How many records it knows to lack in its first gap."""
        return max(self.missing_last_lsn - self.reached_lsn, 0)

    @property
    def lacks(self) -> bool:
        """Whether it knows itself that something is missing."""
        return self.missing_last_lsn > 0 or not self.begun

    def progress(self) -> tuple[int, bool, int]:
        """What changes where something that it lacked came."""
        return self.epoch, self.begun, self.reached_lsn


class Ask(NamedTuple):
    """Ask this peer."""

    peer: str
    first_lsn: int = 1
    records: int = 0
    """How many; 0 to hear only how it is."""


def own(node: StorageNode[Any], position: int) -> Own:
    """Where `node` is, whose partition was read up to `position`."""
    return Own(position, node.epoch, node.begun, node.prefix.chained_lsn, node.missing()[1])


def beginning(answer: VolumeReadAnswered | VolumeSnapshotAnswered) -> VolumeRangeTruncated | None:
    """Where the volume of the epoch of the copy that answered began."""
    if answer.began_lsn < 0:
        return None
    return VolumeRangeTruncated(
        volume=answer.volume,
        epoch=answer.status.epoch,
        source_epoch=answer.began_source_epoch,
        durable_lsn=answer.began_lsn,
        upper_lsn=answer.began_upper_lsn,
    )


def leads(peer: VolumeCopyAcknowledged, mine: Own) -> bool:
    """Whether the peer's records are a prefix of the volume of its epoch, and that is not older than the copy's own."""
    return peer.log_epoch == peer.epoch >= mine.epoch


def taken(
    answer: VolumeReadAnswered | VolumeSnapshotAnswered, batches: Iterable[VolumeRedoBatch], mine: Own
) -> list[Redo]:
    """What the copy may take of a peer's answer, as the writer of the peer's epoch would have sent it."""
    peer = answer.status
    if not leads(peer, mine):
        return []
    events: list[Redo] = []
    if peer.epoch > mine.epoch or not mine.begun:
        began = beginning(answer)
        if began is None:
            return []
        events += [VolumeEpochBumped(volume=answer.volume, epoch=peer.epoch, writer=peer.writer), began]
    events.extend(
        msgspec.structs.replace(batch, epoch=peer.epoch, durable_lsn=max(batch.durable_lsn, peer.settled_lsn))
        for batch in batches
    )
    return events


class GossipPlan:
    """Decides whom to ask for what, and when. The shell asks, lets the copy take the answer, and says how it went."""

    def __init__(self, peers: Sequence[str], *, rng: Rng, timing: Timing | None = None) -> None:
        self._peers = tuple(peers)
        self._rng = rng
        self._timing = timing or Timing()
        self._unheard = set(peers)
        """Peers that did not say yet whether they are ahead of a copy that has just started."""
        self._checks_left = self._timing.checks_max
        self._last: Own | None = None
        self._since = 0.0
        self._wait_s = 0.0
        self._failed = 0
        self._round: list[str] | None = None
        """Whom to ask yet; None while nobody is asked."""
        self._heard: dict[str, VolumeCopyAcknowledged] = {}
        """Peers that answered in this round."""
        self._outstanding: Ask | None = None

    def use(self, peers: Sequence[str]) -> None:
        """Ask these from the next round on: the volume's copies changed."""
        self._peers = tuple(peers)
        self._unheard.intersection_update(peers)

    def due(self, mine: Own, now: float) -> Ask | None:
        """Whom to ask now, for a copy that is at `mine`. Call it now and then, and after each answer."""
        if self._outstanding is not None:
            return None
        checking = self._checks()
        moved = self._moved(mine, checking=checking)
        self._last = mine
        if moved:
            self._rest(now, self._patience(mine))
        if not (mine.lacks or checking):
            self._round = None
            return None
        if self._round is None:
            if now - self._since < self._wait_s:
                return None
            self._round, self._heard = list(self._peers) if mine.lacks else sorted(self._unheard), {}
            self._rng.shuffle(self._round)
        self._outstanding = self._next(mine, now)
        return self._outstanding

    def _checks(self) -> bool:
        return bool(self._unheard) and self._checks_left > 0

    def _moved(self, mine: Own, *, checking: bool) -> bool:
        """Whether something came by itself since the last look, so that there is no need to ask."""
        last = self._last
        if last is None or mine.progress() != last.progress() or (mine.lacks and not last.lacks):
            return True
        return checking and not mine.lacks and mine.position != last.position

    def _patience(self, mine: Own) -> float:
        self._failed = 0
        return 0.0 if self.is_much(mine.missing) else self._timing.patience_s * (1 + self._rng.random())

    def is_much(self, records: int) -> bool:
        """Whether so many are asked of several peers at once, and without patience."""
        return records > self._timing.much_records

    def _rest(self, now: float, wait_s: float) -> None:
        self._round, self._since, self._wait_s = None, now, wait_s

    def _next(self, mine: Own, now: float) -> Ask | None:
        for peer, status in sorted(self._heard.items(), key=lambda each: -each[1].complete_lsn):
            if self.serves(status, mine):
                last_lsn = min(status.complete_lsn, mine.missing_last_lsn or status.complete_lsn)
                return Ask(peer, mine.reached_lsn + 1, last_lsn - mine.reached_lsn)
        assert self._round is not None
        if self._round:
            return Ask(self._round.pop())
        if not mine.lacks:
            self._checks_left -= 1
        self._rest(
            now, min(self._timing.retry_s * 2**self._failed, self._timing.retry_s_max) * (1 + self._rng.random())
        )
        self._failed = min(self._failed + 1, 16)
        return None

    def serves(self, peer: VolumeCopyAcknowledged, mine: Own) -> bool:
        """Whether the peer's batches are what the copy lacks."""
        return leads(peer, mine) and peer.epoch == mine.epoch and mine.begun and peer.complete_lsn > mine.reached_lsn

    def answered(self, ask: Ask, status: VolumeCopyAcknowledged | None, mine: Own) -> None:
        """The peer said this, None for nothing in time, and the copy took what it may: it is at `mine` now."""
        self._outstanding = None
        before, self._last = self._last, mine
        progress = before is None or mine.progress() != before.progress()
        if status is None or (ask.records and not progress):
            self._heard.pop(ask.peer, None)
            return
        if progress:
            self._failed = 0
        self._heard[ask.peer] = status
        if leads(status, mine) and status.complete_lsn <= mine.reached_lsn:
            # Not before: it may have said so while all that it had was pages, and the copy must come back to it.
            self._unheard.discard(ask.peer)
