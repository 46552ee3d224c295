"""Both checkers over a whole history, and what they found in words."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple

from tests.history import cycles, lists, registers, timeline
from tests.history.recording import Operation


class Report(NamedTuple):
    """What a history says."""

    operations: int
    outcomes: dict[str, int]
    verdicts: list[registers.Verdict]
    """One for each register."""
    found: list[lists.Found]
    """Anomalies among transactions."""
    transactions: int

    @property
    def refused(self) -> bool:
        """Whether no system that keeps its word can have given this history."""
        return bool(self.found) or any(verdict.outcome == "not linearizable" for verdict in self.verdicts)

    @property
    def unknown(self) -> list[str]:
        """Registers whose search was given up."""
        return [verdict.key for verdict in self.verdicts if verdict.outcome == "unknown"]

    def anomalies(self) -> list[str]:
        """The names of all that was found, each once."""
        names = {found.anomaly for found in self.found}
        names |= {verdict.outcome for verdict in self.verdicts if verdict.outcome != "linearizable"}
        return sorted(names)

    def text(self) -> str:
        """For people."""
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        head = f"{self.operations:,} operations ({counts}): {len(self.verdicts):,} registers, "
        lines = [head + f"{self.transactions:,} transactions on lists"]
        lines += [f"{each.anomaly}: {each.text}" for each in self.found]
        if pictures := timeline.draw_all(self.verdicts):
            lines.append(pictures)
        if not self.refused:
            unknown = f", but for {len(self.unknown)} that were given up" if self.unknown else ""
            lines.append(f"every register is linearizable{unknown}; the transactions are strictly serializable")
        return "\n".join(lines)


def check(operations: Sequence[Operation], *, places_max: int = registers.PLACES_MAX) -> Report:
    """Look at all of it."""
    history = lists.transactions(operations)
    return Report(
        operations=len(operations),
        outcomes=dict(collections.Counter(each.outcome for each in operations)),
        verdicts=registers.check(operations, places_max=places_max),
        found=cycles.check(history),
        transactions=len(history),
    )
