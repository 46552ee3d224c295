"""Rates of something that counts: looked at from outside, once they do not change any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

WINDOW_S = 0.5
TOLERANCE = 0.1
"""Two windows that differ by no more than this part are level: what warms up has done so."""
WINDOWS_MAX = 8
"""Then it is measured all the same: the machine is noisy, and the rounds tell."""


class Point(NamedTuple):
    """How many there were, and when."""

    total: int
    at_s: float


Look = Callable[[], Awaitable[Point]]
Sleep = Callable[[float], Awaitable[None]]


def per_s(first: Point, last: Point) -> float:
    """The rate between two points."""
    return (last.total - first.total) / (last.at_s - first.at_s)


async def settle(look: Look, sleep: Sleep = asyncio.sleep) -> None:
    """Return once two windows in a row have the same rate, more or less, and not before something was counted."""
    points = [await look()]
    while len(points) <= WINDOWS_MAX:
        await sleep(WINDOW_S)
        points.append(await look())
        if len(points) > 2:
            before, now = per_s(*points[-3:-1]), per_s(*points[-2:])
            if now > 0 and abs(now - before) <= TOLERANCE * max(now, before):
                return


async def rate(look: Look, seconds: float, sleep: Sleep = asyncio.sleep) -> float:
    """The rate over `seconds`, once it is level."""
    await settle(look, sleep)
    first = await look()
    await sleep(seconds)
    return per_s(first, await look())
