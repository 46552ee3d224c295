"""Making a life that fails shorter, so that somebody can follow it."""

from __future__ import annotations

import dataclasses

from tests.simulation import life


def shorten(outcome: life.Outcome, *, lives_max: int = 200) -> life.Outcome:
    """A life that breaks the same invariant with as many of its steps left out as `lives_max` tries find."""
    steps = len(outcome.steps)
    kept, size, lives = list(range(1, steps + 1)), max(steps // 2, 1), 0
    while size and lives < lives_max:
        start = 0
        while start < len(kept) and lives < lives_max:
            fewer = kept[:start] + kept[start + size :]
            lives += 1
            left_out = frozenset(range(1, steps + 1)) - frozenset(fewer)
            tried = life.live(dataclasses.replace(outcome.plan, left_out=left_out, steps=steps))
            if tried.violation and tried.invariant == outcome.invariant:
                outcome, kept = tried, [step for step in fewer if step <= len(tried.steps)]
            else:
                start += size
        size //= 2
    return outcome
