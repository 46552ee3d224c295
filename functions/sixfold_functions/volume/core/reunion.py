"""Recovery of a volume that is spread over several groups: from what the groups' sources hold to where the volume begins.

Each group is fenced and gathered by itself, in one epoch that is the same in all of them. Only when all are, this decides:
the volume begins at its highest LSN that has no hole below it in the union of what the sources hold, rounded down to a
consistency point, and each group is cut behind its last part at or below that.

What was ever told to be durable is kept: such a batch is in a write quorum of each of its groups in the epoch of who told
it, each of these meets the read quorum that was gathered there, and whoever cut a group in between had computed the same
or more (see `groups/DESIGN.md`). Below what a copy settled nothing is looked at: it was told, and it is in the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sixfold_functions.volume.core.parts import Label


class ReunionError(Exception):
    """The groups do not fit each other: more copies were lost than the quorum bears."""


class Seen(NamedTuple):
    """A part that a group's source holds whole."""

    label: Label
    end_lsn: int
    """LSN of its label in the group."""
    origin_epoch: int


class Tail(NamedTuple):
    """What a group's source holds from where its copies settled on."""

    settled_lsn: int
    """Known to be durable: the part with this LSN is at or below what was told of the volume; 0 for none."""
    parts: Sequence[Seen]
    """In order, from the one with `settled_lsn` on."""


class Cut(NamedTuple):
    """Where a group ends."""

    lsn: int
    last_epoch: int


class Reunion(NamedTuple):
    """Where the volume begins."""

    durable_lsn: int
    """-1 for a volume without anything, not even its plan."""
    cuts: dict[int, Cut]
    append_offset: int
    """Next offset of the append requests after those that the volume has."""


def reunite(tails: Mapping[int, Tail]) -> Reunion:
    """Where the volume begins whose groups hold `tails`. Raises ReunionError."""
    durable_lsn = max((_last(tail.parts[0]) for tail in tails.values() if tail.settled_lsn and tail.parts), default=-1)
    batches: dict[int, dict[int, Seen]] = {}
    for group, tail in tails.items():
        for seen in tail.parts:
            if _last(seen) > durable_lsn:
                batches.setdefault(_first(seen), {})[group] = seen
    lsn = durable_lsn
    while (parts := batches.get(lsn + 1)) is not None:
        labels = [seen.label for seen in parts.values()]
        if any((each.last_lsn, each.groups) != (labels[0].last_lsn, labels[0].groups) for each in labels):
            raise ReunionError(f"groups {sorted(parts)} have different batches at volume LSN {lsn + 1}")
        if not set(labels[0].groups) <= parts.keys():
            break
        lsn = labels[0].last_lsn
        durable_lsn = lsn if labels[0].is_complete else durable_lsn
    kept = {group: [seen for seen in tail.parts if _last(seen) <= durable_lsn] for group, tail in tails.items()}
    for group, tail in tails.items():
        if tail.settled_lsn and not kept[group]:
            raise ReunionError(
                f"group {group} was told LSN {tail.settled_lsn} to be durable, and its source has not got it"
            )
    return Reunion(
        durable_lsn,
        {
            group: Cut(parts[-1].end_lsn, parts[-1].origin_epoch) if parts else Cut(0, 0)
            for group, parts in kept.items()
        },
        max((seen.label.append_offset for parts in kept.values() for seen in parts), default=0),
    )


def _last(seen: Seen) -> int:
    return seen.label.last_lsn


def _first(seen: Seen) -> int:
    """The plan's part has no LSN of its own; it lies before the first."""
    return seen.label.first_lsn if seen.label.last_lsn >= seen.label.first_lsn else seen.label.last_lsn
