"""Results whose feature does not exist yet: each says null and why, until the feature is there to be measured."""

from __future__ import annotations

import inspect

import sixfold
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome

EXACTLY_ONCE = ("eos_per_s", "eos_p50_ms", "eos_duplicates")


async def exactly_once(lab: Lab) -> Outcome:
    """Consume, transform, produce through `delivery="exactly-once"` on 12 partitions; ten times `kill -9`.

    To fill in once `function(delivery=…)` exists. `eos_per_s` over one run, `eos_p50_ms` from the publish to the
    transformed event seen by a reader of committed records, `eos_duplicates` of the derived ids in the output topic.
    """
    there = "delivery" in inspect.signature(sixfold.function).parameters
    return _lacking(EXACTLY_ONCE, "not measured yet" if there else "function(delivery=…) does not exist")


def _lacking(names: tuple[str, ...], reason: str) -> Outcome:
    outcome = Outcome()
    for name in names:
        outcome.lack(name, reason)
    return outcome
