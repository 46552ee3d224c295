"""Which segments of a copy may go, so that its disk grows with what the volume holds and not with what was written. Pure.

Segments go from the oldest on, so the log always begins with one of them and is whole from there. What lies in those
before a checkpoint is known from it: the checkpoint has, or counts among what is settled, every batch that came before.
So the highest LSN that it knows bounds them all, and the segments before it may go once nobody needs that LSN.

In a volume of pages a record may go once it is settled (no recovery asks for it), is in a layer of this copy that is
synced, is below the low-water mark (Aurora's PGMRPL: no reader needs a state before it) and is in every backup. A plain
log has nothing that could stand for its records, so there only what its user gave up may go.
Source: Verbitski et al., "Amazon Aurora", SIGMOD 2017, section 4.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sixfold_functions.volume.core.prefix import PrefixState

HELD_BYTES_MAX = 32 * 1024**3
"""Of a log. A backup that has not come further when it is larger is waited for no more: a full disk ends the copy."""


class Needs(NamedTuple):
    """Up to which LSN each of those who need records can do without them."""

    settled_lsn: int
    low_water_lsn: int
    held_lsn: int
    """Every backup has all up to here."""
    layered_lsn: int | None
    """In synced layers of pages; None for a plain log."""
    trimmed_lsn: int
    """A user gave up all up to here."""


def collectable_lsn(needs: Needs, log_bytes: int, held_bytes_max: int = HELD_BYTES_MAX) -> int:
    """Nobody needs the records up to here from this copy."""
    kept_elsewhere = needs.trimmed_lsn if needs.layered_lsn is None else needs.layered_lsn
    lsn = min(needs.settled_lsn, needs.low_water_lsn, kept_elsewhere)
    return lsn if log_bytes > held_bytes_max else min(lsn, needs.held_lsn)


def highest_lsn(state: PrefixState[Any]) -> int:
    """No record above lies before the checkpoint that has this `state`."""
    waiting = (entry.last_lsn for entry in (*state.entries, *state.staged, *state.islands))
    return max([state.floor.last_lsn, *waiting])


def first_kept(first: int, newest: int, lsn: int, highest: Callable[[int], int | None]) -> int:
    """The first segment that is to be kept of `first` … `newest`, if nobody needs the records up to `lsn`.

    `highest` gives `highest_lsn` of a segment's checkpoint; None where it has none that can be read.
    """
    kept = first
    for segment in range(first + 1, newest + 1):
        known = highest(segment)
        if known is not None:
            if known > lsn:
                break
            kept = segment
    return kept
