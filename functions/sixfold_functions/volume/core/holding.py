"""Who takes a volume's records away, how far each has come, and what its user gave up: up to where records may go. Pure.

A backup may be away for long, and wants what it lacks when it is back: it is waited for. A reader is another thing
(`readpoints.py`): it must be heard of every few seconds.
"""

from __future__ import annotations

from typing import NamedTuple

PATIENCE_S = 24 * 3600.0
"""A backup that was not heard of for so long is waited for no more; it says every few seconds how far it is."""


class _Holder(NamedTuple):
    lsn: int
    heard_at: float


class Holders:
    """The backups of one volume, as its writer counts them. Times are seconds of one monotonic clock."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._holders: dict[str, _Holder] = {}
        self.trimmed_lsn = 0
        """The user wants no record up to here."""
        self.known = False
        """Whether all that was said before was heard: until then everything is held."""

    def hold(self, backup: str, lsn: int, heard_at: float) -> None:
        """`backup` has everything up to `lsn`."""
        self._holders[backup] = _Holder(lsn, heard_at)

    def trim(self, lsn: int) -> None:
        """The user gave up all records up to `lsn`; more only, never less."""
        self.trimmed_lsn = max(self.trimmed_lsn, lsn)

    def held_lsn(self, low_water_lsn: int, now: float) -> tuple[int, list[str]]:
        """Up to where every backup is, never above the low-water mark; and those that are waited for no more."""
        lost = [name for name, holder in self._holders.items() if now - holder.heard_at > self._patience_s]
        for name in lost:
            del self._holders[name]
        if not self.known:
            return 0, lost
        return min([low_water_lsn, *(holder.lsn for holder in self._holders.values())]), lost
