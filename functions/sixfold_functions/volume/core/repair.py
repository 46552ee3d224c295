"""Filling copies: which one lacks what, and when it is time to send it.

A gap may close by itself (batches may overtake each other), so it must persist before it is filled. What was sent is
given time to arrive: more follows once the copy has all of it, or again what it lacks if it shows no progress. A copy
that says nothing any more is down or far behind, so it gets a word now and then and no data until it answers.
A copy that lacks much gets it from its peers (`gossip`), unless that comes to a halt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core.tracker import Standing, standing

MUCH_RECORDS = 10_000
"""A copy that lacks more gets it from its peers: through the writer it would pass the bus twice. Half a second of a busy
volume's records, so what a copy lacks because it was slow comes from the writer's memory."""


class Fill(NamedTuple):
    """Send this to this copy."""

    copy: str
    first_lsn: int = 0
    """0 for no records."""
    last_lsn: int = 0
    truncation: bool = False
    """Send the epoch's truncation first: the copy has not read it, or is to answer it."""
    admission: bool = False
    """The copy lost its log and is level now: say how far the volume goes, so that it counts again."""


class _Need(NamedTuple):
    """What a copy lacks; a change is progress."""

    where: Standing
    first_lsn: int = 0
    said: int = 0
    """Of a copy in an older epoch, which has a backlog to read as long as it speaks."""


@dataclass
class _Gap:
    need: _Need
    since: float
    """Of the last progress."""
    heard_at: float
    tried_at: float | None = None
    silent: int = 0
    """How often it got a word since it was last heard."""
    sent_lsn: int = 0
    """Up to here it was sent what it lacks."""


class RepairPlan:
    """Decides from acknowledgements and time; the shell reads from a copy that has the records and sends them."""

    def __init__(
        self,
        *,
        patience_s: float = 0.2,
        retry_s: float = 2.0,
        behind_s: float = 2.0,
        silence_s_max: float = 60.0,
        much_records: int = MUCH_RECORDS,
        much_s: float = 3.0,
    ) -> None:
        self._patience_s = {Standing.CURRENT: patience_s, Standing.FILLING: 0.0, Standing.BEHIND: behind_s}
        self._much_records, self._much_s = much_records, much_s
        """Without progress for so long a copy that lacks much is filled after all."""
        self._retry_s = retry_s
        self._silence_s_max = silence_s_max
        self._gaps: dict[str, _Gap] = {}

    def on_ack(self, ack: VolumeCopyAcknowledged, epoch: int, now: float) -> None:
        """Note what a copy lacks, or that it lacks nothing any more."""
        need = self._need(ack, epoch)
        if need is None:
            self._gaps.pop(ack.copy, None)
            return
        gap = self._gaps.get(ack.copy)
        if gap is None or gap.need.where is not need.where:
            self._gaps[ack.copy] = _Gap(need, now, now)
            return
        gap.heard_at, gap.silent = now, 0
        if gap.need != need:
            gap.need, gap.since = need, now
            level = need.where is Standing.CURRENT and not need.first_lsn
            if level or need.first_lsn > gap.sent_lsn:
                gap.tried_at = None  # all that was sent is there

    @staticmethod
    def _need(ack: VolumeCopyAcknowledged, epoch: int) -> _Need | None:
        where = standing(ack, epoch)
        lacking = ack.missing_first_lsn if ack.missing_last_lsn else 0
        match where:
            case Standing.BEHIND:
                return _Need(where, said=ack.sequence)
            case Standing.FILLING:
                return _Need(where, lacking)
            case Standing.CURRENT if lacking or ack.joining:
                return _Need(where, lacking)
        return None

    def due(self, acks: dict[str, VolumeCopyAcknowledged], now: float, busy: Collection[str] = ()) -> list[Fill]:
        """What to send now, but not to `busy` copies; each is then not due again until progress or a while."""
        fills = []
        for copy, gap in self._gaps.items():
            ack = acks[copy]
            if copy in busy or not self._is_due(gap, ack, now):
                continue
            if gap.tried_at is not None and gap.heard_at <= gap.tried_at:
                gap.silent += 1
                fills.append(Fill(copy, truncation=True))
            elif gap.need.first_lsn:
                fills.append(Fill(copy, ack.missing_first_lsn, ack.missing_last_lsn))
            elif gap.need.where is Standing.CURRENT:
                fills.append(Fill(copy, admission=True))
            else:
                fills.append(Fill(copy, truncation=True))
            gap.tried_at, gap.sent_lsn = now, 0
        return fills

    def _is_due(self, gap: _Gap, ack: VolumeCopyAcknowledged, now: float) -> bool:
        if gap.tried_at is None:
            patience_s = self._patience_s[gap.need.where]
            if gap.need.first_lsn and ack.missing_last_lsn - ack.missing_first_lsn >= self._much_records:
                patience_s = max(patience_s, self._much_s)
            continues = gap.sent_lsn > 0
            return continues or now - gap.since >= patience_s
        wait_s: float = min(self._retry_s * 2**gap.silent, self._silence_s_max)
        return now - max(gap.tried_at, gap.since) >= wait_s

    def sent(self, copy: str, last_lsn: int, now: float) -> None:
        """The copy is sent now what it lacks up to `last_lsn`, perhaps not all of it."""
        if (gap := self._gaps.get(copy)) is not None:
            gap.tried_at, gap.sent_lsn = now, max(gap.sent_lsn, last_lsn)

    def keep(self, copies: Collection[str]) -> None:
        """Only these are members still."""
        self._gaps = {copy: gap for copy, gap in self._gaps.items() if copy in copies}

    def copies(self) -> list[str]:
        """Copies that lack something."""
        return sorted(self._gaps)
