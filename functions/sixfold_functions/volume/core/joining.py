"""When a copy begins with another one's pages instead of records: nobody keeps the records that it lacks. Pure.

It takes what that copy knows to be settled, so no recovery can annul it, in any epoch that follows. What could annul it
are truncations of older epochs, which a copy that begins anew may still read in its partition: so it moves into the
other's epoch first, as gossip does, unless its own is not older.
"""

from __future__ import annotations

from collections.abc import Iterable

from sixfold_events.volume import VolumeReadAnswered, VolumeSnapshotAnswered
from sixfold_functions.volume.core import gossip
from sixfold_functions.volume.core.node import Redo


def sources(mine: gossip.Own, answers: Iterable[VolumeReadAnswered], *, pages_from_lsn: int = 0) -> list[str]:
    """Copies to take pages from, the one that is furthest first; none where the records that are lacking can be had.

    `pages_from_lsn` is given where the copy lost pages of which it has no records: it takes any from there on.
    """
    able = [each for each in answers if each.page_bytes and (gossip.leads(each.status, mine) or _is_older(each, mine))]
    if pages_from_lsn:
        able = [each for each in able if each.status.settled_lsn >= pages_from_lsn]
    else:
        able = [each for each in able if each.status.settled_lsn > mine.reached_lsn]
        if any(each.floor_lsn <= mine.reached_lsn for each in able):
            return []
    return [each.copy for each in sorted(able, key=lambda each: (-each.status.settled_lsn, each.copy))]


def _is_older(answer: VolumeReadAnswered, mine: gossip.Own) -> bool:
    return answer.status.epoch <= mine.epoch


def leading(part: VolumeSnapshotAnswered, mine: gossip.Own) -> list[Redo] | None:
    """What leads a copy at `mine` into the epoch of the copy that gave `part`; None where nothing does.

    Nothing has to where it is in a newer one, or knows where that epoch began: a truncation of it that is still to come
    would annul what is taken.
    """
    if part.status.epoch < mine.epoch or (part.status.epoch == mine.epoch and mine.begun):
        return []
    return gossip.taken(part, [], mine) or None
