"""Which life is lived, and how it went."""

from __future__ import annotations

import dataclasses
from collections import Counter


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which life."""

    seed: int
    mutation: str = ""
    """One of MUTATIONS, or none."""
    left_out: frozenset[int] = frozenset()
    """Steps that do not happen."""
    steps: int | None = None
    """How many there are; by default until it is long enough."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How it went."""

    plan: Plan
    violation: str
    """Empty where all held."""
    steps: tuple[str, ...]
    """What each step was."""
    hits: Counter[str]
    """How often each fault happened."""
    appends: int
    acknowledged: int
    seconds: float
    digest: str
    """Of all that clients were told: the same seed gives the same."""

    @property
    def invariant(self) -> str:
        """The one that did not hold."""
        return self.violation.partition(" ")[0]
