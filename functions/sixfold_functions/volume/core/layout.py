"""Where a volume's copies live: names, zones, partition numbers, topics.

A copy's partition number is its own for ever; a copy that replaces another takes a new name and the next number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

DEFAULT_VOLUME = "default"


class Place(NamedTuple):
    """A copy's place."""

    copy: str
    zone: str
    partition: int
    """Of `volume.redo` and `volume.reads`."""


PLACES = (
    # The six copies that every volume begins with; `membership.py` has what became of them.
    Place("a1", "a", 0),
    Place("a2", "a", 1),
    Place("b1", "b", 2),
    Place("b2", "b", 3),
    Place("c1", "c", 4),
    Place("c2", "c", 5),
)
COPIES = tuple(place.copy for place in PLACES)
ZONES = tuple(dict.fromkeys(place.zone for place in PLACES))
PARTITION = {place.copy: place.partition for place in PLACES}
Places = Sequence[Place]


class Topics(NamedTuple):
    """Names of a volume's topics."""

    redo: str
    acks: str
    append: str
    durable: str
    reads: str
    read_results: str
    status: str
    read_points: str
    members: str
    retention: str


def topics(volume: str) -> Topics:
    """The default volume has the plain names, another its own name at the end."""
    suffix = "" if volume == DEFAULT_VOLUME else f".{volume}"
    return Topics(*(f"volume.{name.replace('_', '.')}{suffix}" for name in Topics._fields))


GROUP = ".g"
"""Between a volume's name and its group's number; no volume's own name has a dot."""


def group_name(volume: str, group: int) -> str:
    """The name of a volume's protection group, which is a volume in all but name: `orders.g1`."""
    return f"{volume}{GROUP}{group}"


def group_of(name: str) -> tuple[str, int] | None:
    """The volume and the number of the group that `name` names; None for a volume's own name."""
    volume, dot, number = name.rpartition(GROUP)
    return (volume, int(number)) if dot and number.isdecimal() else None


def by_zone(copies: Iterable[str], places: Places = PLACES) -> dict[str, list[str]]:
    """The given copies in their zones; every zone is there, an empty one too."""
    given = set(copies)
    return {zone: [place.copy for place in places if place.zone == zone and place.copy in given] for zone in ZONES}


def expand(name: str, places: Places = PLACES) -> tuple[str, ...]:
    """The copies that a person means by a copy, a zone or `all`; none for an unknown name."""
    return tuple(place.copy for place in places if name in (place.copy, place.zone, "all"))


def describe(copies: Iterable[str], places: Places = PLACES) -> str:
    """`zone a: a1, a2; zone b: b1; zone c: none`."""
    return "; ".join(f"zone {zone}: {', '.join(names) or 'none'}" for zone, names in by_zone(copies, places).items())


def following(zone: str, places: Places) -> Place:
    """The place of the next copy in `zone`: a name and a partition that none of `places` ever had."""
    number = max(int(place.copy[len(zone) :]) for place in places if place.zone == zone) + 1
    return Place(f"{zone}{number}", zone, max(place.partition for place in places) + 1)
