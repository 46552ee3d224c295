"""What is to happen to a volume, drawn from a seed: rounds, each of which strikes copies, and at the same time something else.

Once a round is over all is mended, and the next one begins when a client had an answer: a volume that does not come back
is noticed at once, and each fault meets a volume at work.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sixfold_functions.volume.core import layout

BEGINS_S = (0.0, 2.0)
LASTS_S = (0.5, 4.0)


class Fault(NamedTuple):
    """A kind of fault."""

    name: str
    strikes: str = ""
    """`copy`, `two copies`, `three copies`, `zone` or `clients`: what the victims are drawn from; empty where there is no choice."""
    bus: str = ""
    """`embedded` or `kafka` where it is one of that bus only."""
    needs_cell: bool = False


COPIES = (
    Fault("copy killed", "copy"),
    Fault("two copies killed", "two copies"),
    Fault("zone killed", "zone"),
    Fault("copy stopped in order", "copy"),
    Fault("copy paused", "copy"),
    Fault("zone paused", "zone"),
    Fault("zone cut off", "zone", bus="kafka", needs_cell=True),
    Fault("disk full", needs_cell=True),
    Fault("quorum lost", "three copies"),
)
OTHERS = (
    Fault("writer killed"),
    Fault("writer paused"),
    Fault("writer followed while paused"),
    Fault("tracker killed"),
    Fault("clients killed", "clients"),
    Fault("owner of the log killed", bus="embedded"),
    Fault("owner of the log paused", bus="embedded"),
    Fault("broker killed", bus="kafka"),
    Fault("broker stopped in order", bus="kafka"),
    Fault("broker paused", bus="kafka"),
    Fault("everything killed"),
)
FAULTS = (*COPIES, *OTHERS)


class Episode(NamedTuple):
    """One fault, from `begins_s` after the beginning of its round."""

    begins_s: float
    lasts_s: float
    fault: str
    victims: tuple[str, ...]

    def text(self) -> str:
        """For people."""
        victims = f" {', '.join(self.victims)}" if self.victims else ""
        return f"{self.fault}{victims} (after {self.begins_s} s, for {self.lasts_s} s)"


def rounds(seed: int, bus: str) -> Iterator[tuple[Episode, ...]]:
    """Rounds without end, each with one fault of copies and one of all else, side by side.

    Each kind comes once, in an order of the seed's, before one comes again.
    """
    sequences = [
        _sequence(random.Random(f"{seed} {number}"), [each for each in faults if each.bus in ("", bus)])
        for number, faults in enumerate((COPIES, OTHERS))
    ]
    yield from zip(*sequences, strict=True)


def _sequence(rng: random.Random, faults: Sequence[Fault]) -> Iterator[Episode]:
    while True:
        for fault in rng.sample(faults, len(faults)):
            begins_s, lasts_s = round(rng.uniform(*BEGINS_S), 1), round(rng.uniform(*LASTS_S), 1)
            yield Episode(begins_s, lasts_s, fault.name, _victims(rng, fault))


def _victims(rng: random.Random, fault: Fault) -> tuple[str, ...]:
    if fault.strikes == "zone":
        return layout.expand(rng.choice(layout.ZONES))
    if fault.strikes == "clients":
        return (f"clients{rng.randint(1, 2)}",)
    count = {"copy": 1, "two copies": 2, "three copies": 3}.get(fault.strikes, 0)
    return tuple(sorted(rng.sample(layout.COPIES, count)))
