"""Filling gaps: which copy lacks what, and when it is time to send it.

A gap may close by itself (batches may overtake each other), so it must persist before it is filled, and a fill is
given time to show progress before it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core.tracker import Standing, standing


class Fill(NamedTuple):
    """Send these records to this copy."""

    copy: str
    first_lsn: int
    last_lsn: int
    """0 with `first_lsn` 0: only the truncation."""
    truncation: bool
    """Send the epoch's truncation before, which the copy has not read."""


@dataclass
class _Gap:
    first_lsn: int
    since: float
    tried_at: float | None = None


class RepairPlan:
    """Decides from acknowledgements and time; the shell reads from a copy that has the records and sends them."""

    def __init__(self, *, patience_s: float = 0.2, retry_s: float = 2.0) -> None:
        self._patience_s = patience_s
        self._retry_s = retry_s
        self._gaps: dict[str, _Gap] = {}

    def on_ack(self, ack: VolumeCopyAcknowledged, epoch: int, now: float) -> None:
        """Note a copy's gap, or that it has none any more."""
        where = standing(ack, epoch)
        lacking = ack.missing_first_lsn if ack.missing_last_lsn else 0
        if (where is Standing.CURRENT and not lacking) or where not in (Standing.CURRENT, Standing.FILLING):
            self._gaps.pop(ack.copy, None)
            return
        known = self._gaps.get(ack.copy)
        if known is None or known.first_lsn != lacking:
            self._gaps[ack.copy] = _Gap(lacking, now)

    def due(self, acks: dict[str, VolumeCopyAcknowledged], epoch: int, now: float) -> list[Fill]:
        """What to send now; each is then not due again until progress or `retry_s`."""
        fills = []
        for copy, gap in self._gaps.items():
            ack = acks[copy]
            patience_s = self._patience_s if standing(ack, epoch) is Standing.CURRENT else 0.0
            waited = now - gap.since >= patience_s
            if not waited or (gap.tried_at is not None and now - gap.tried_at < self._retry_s):
                continue
            gap.tried_at = now
            truncation = standing(ack, epoch) is Standing.FILLING and not ack.missing_last_lsn
            fills.append(Fill(copy, ack.missing_first_lsn, ack.missing_last_lsn, truncation))
        return fills

    def copies(self) -> list[str]:
        """Copies with a known gap."""
        return sorted(self._gaps)
