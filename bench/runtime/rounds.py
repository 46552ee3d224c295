"""Interleaved rounds, and what is made of them. Sides take turns, so a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

Measure = Callable[[], Awaitable[float]]


class Figure(NamedTuple):
    """A result over all rounds."""

    value: float
    """The median."""
    lowest: float
    highest: float


def figure(values: Sequence[float]) -> Figure:
    """The median of `values` and their spread."""
    return Figure(statistics.median(values), min(values), max(values))


async def interleaved(
    sides: Mapping[str, Measure], rounds: int, note: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Measure each side once a round, in turn; the values of each side in the order of the rounds."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            value = await measure()
            values[name].append(value)
            note(f"  round {number + 1} {name:24} {value:>14,.4g}")
    return values


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Each round's ours over theirs."""
    return figure([mine / other for mine, other in zip(ours, theirs, strict=True)])


def worst_over_best(costs: Sequence[Sequence[float]]) -> Figure:
    """How flat a curve is: the dearest point over the cheapest one, each point the median of its rounds.

    The spread is that of the rounds taken one by one; noise makes these larger than the value, never smaller than 1.
    """
    medians = [statistics.median(point) for point in costs]
    per_round = [max(points) / min(points) for points in zip(*costs, strict=True)]
    return Figure(max(medians) / min(medians), min(per_round), max(per_round))
