"""What one function's worker counts. `reporting.py` sends the counters to the log, `metrics.py` renders them."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from sixfold_events.system import FunctionReport

BOUNDS_S: tuple[float, ...] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the duration histogram: Prometheus' defaults, with 1 ms and 60 s."""

BATCH_BOUNDS: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Upper bounds of the batch size histogram, in records: up to the largest batch that Lambda takes."""


@dataclass
class Counters:
    """Counters of one function in this process; the fields are `FunctionReport`'s, where they are explained."""

    function: str
    records: int = 0
    skipped: int = 0
    attempts: int = 0
    failures: int = 0
    dead_letters: int = 0
    emitted: int = 0
    fenced: int = 0
    restarts: int = 0
    running: int = 0
    retrying: int = 0
    duration_sum_s: float = 0.0
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    halted: str = ""
    topics: list[str] = field(default_factory=list)
    start: str = "earliest"
    timeout_s: float = 0.0
    breaker: str = ""
    breaker_openings: int = 0
    batch_records: int = 0
    batch_counts: list[int] = field(default_factory=lambda: [0] * (len(BATCH_BOUNDS) + 1))
    standby_lag: int | None = None

    def observe(self, seconds: float) -> None:
        """An attempt took `seconds`."""
        self.attempts += 1
        self.duration_sum_s += seconds
        self.duration_counts[0 if seconds <= BOUNDS_S[0] else bisect.bisect_left(BOUNDS_S, seconds)] += 1

    def observe_batch(self, records: int) -> None:
        """A batch of `records` was given to the handler."""
        self.batch_records += records
        self.batch_counts[bisect.bisect_left(BATCH_BOUNDS, records)] += 1

    def report(self) -> FunctionReport:
        """The counters as they are now, as part of an event."""
        lists = {name: list(value) for name, value in vars(self).items() if isinstance(value, list)}
        return FunctionReport(**{**vars(self), **lists})
