"""What each result must be: printed beside it, and part of the report."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import NamedTuple

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Bar(NamedTuple):
    """A limit."""

    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}"

    def holds(self, value: float) -> bool:
        """Whether `value` is within it."""
        return _HOLDS[self.sign](value, self.limit)


BARS: dict[str, Bar] = {
    "append_p50_ms_1": Bar("<", 12),
    "append_128_vs_etcd": Bar(">=", 2.5),
    "append_1000_vs_etcd": Bar(">=", 5),
    "append_128_vs_mariadb": Bar(">", 1),
    "embedded_128_vs_bare": Bar(">=", 0.4),
    "fsyncs_per_append_1": Bar("<=", 1.05),
    "fsyncs_per_append_128": Bar("<=", 0.05),
    "replica_lag_p50_ms": Bar("<", 20),
    "replica_lag_p99_ms": Bar("<", 100),
    "recovery_s": Bar("<", 5),
    "replace_1gb_s": Bar("<", 60),
    "restore_1gb_s": Bar("<", 60),
    "restore_right_seconds": Bar(">=", 600),
    "flat_volume": Bar("<=", 1.15),
}


def table(values: Mapping[str, float | None]) -> list[str]:
    """A line a result, with its bar and whether it holds."""
    lines = []
    for name, value in values.items():
        bar = BARS.get(name)
        shown = "null" if value is None else f"{value:.4g}"
        verdict = "" if bar is None or value is None else "holds" if bar.holds(value) else "MISSED"
        lines.append(f"{name:28} {shown:>10}   {bar or ''!s:10} {verdict}".rstrip())
    return lines
