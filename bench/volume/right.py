"""`restore_right_seconds`, beside the other results: how many seconds of ten minutes are restored as they were.

The lives are those of `tests/simulation/minutes.py`: time is held in hand, so they depend on no machine, and what writes,
backs up and restores is what users run.
"""

from __future__ import annotations

import asyncio

from tests.simulation.minutes import Minutes

from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome

RESULTS = ("restore_right_seconds",)
SECONDS = 600
BEFORE = 30
"""Seconds that a life begins before those that are looked at, so that each of them is promised."""


async def right(lab: Lab, broker: int | None) -> Outcome:
    """Of the last ten minutes of two lives, of records and of pages, the seconds that are right in both."""
    lives = {name: await asyncio.to_thread(_lived, holds_pages=name == "pages") for name in ("records", "pages")}
    outcome = Outcome()
    both = [all(seconds) for seconds in zip(*lives.values(), strict=True)]
    outcome.add("restore_right_seconds", rounds.figure([float(sum(both))]))
    outcome.details["restore_right"] = {
        "checked_seconds": len(both),
        **{f"wrong_of_{name}": seconds.count(False) for name, seconds in lives.items()},
    }
    return outcome


def _lived(*, holds_pages: bool) -> list[bool]:
    lived = Minutes(holds_pages=holds_pages, window_s=SECONDS)
    for number in range(SECONDS + BEFORE):
        lived.second(number)
    return [is_right for _, is_right in lived.compared(lived.moments()[-SECONDS:])]
