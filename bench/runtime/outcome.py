"""What a measurement found: results by name, their spread, what lies behind them, and why something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.runtime import rounds


@dataclass
class Outcome:
    """Results of one measurement; `merge` adds another's."""

    values: dict[str, float | None] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The lowest and the highest round of each result."""
    details: dict[str, Any] = field(default_factory=dict)
    """Rates and the like that explain a result."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a result is null."""

    def add(self, name: str, found: rounds.Figure) -> None:
        """A result over all rounds, said as it comes."""
        self.values[name] = found.value
        self.spread[name] = (found.lowest, found.highest)
        print(f"{name:28} {found.value:>10.4g}   ({found.lowest:.4g} to {found.highest:.4g})", flush=True)

    def add_ratio(self, name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
        """Our rate over theirs."""
        self.add(name, rounds.ratio(ours, theirs))
        self.details[f"{name}_per_s"] = [round(rounds.figure(side).value) for side in (ours, theirs)]

    def lack(self, name: str, reason: str) -> None:
        """`name` could not be measured."""
        self.values[name] = None
        self.missing[name] = reason
        print(f"{name:28} {'null':>10}   {reason}", flush=True)

    def merge(self, other: Outcome) -> None:
        """Take over what `other` found."""
        self.values.update(other.values)
        self.spread.update(other.spread)
        self.details.update(other.details)
        self.missing.update(other.missing)

    def report(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return {
            **{name: None if value is None else _rounded(value) for name, value in self.values.items()},
            "spread": {name: [_rounded(value) for value in bounds] for name, bounds in self.spread.items()},
            "details": self.details,
            "missing": self.missing,
        }


def _rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")
