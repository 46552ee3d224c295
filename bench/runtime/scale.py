"""How large a run is, read from the environment in one place. The defaults are what the bars are measured with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How often and how long."""

    rounds: int = 5
    """SIXFOLD_BENCH_ROUNDS: interleaved rounds of each ratio; the median counts."""
    share: float = 1.0
    """SIXFOLD_BENCH_SHARE: part of the usual number of records; 0.02 is a smoke run."""
    only: tuple[str, ...] = ()
    """SIXFOLD_BENCH_ONLY: names of the results wanted, with commas between; all where it is empty."""
    idle_s: float = 60.0
    """SIXFOLD_BENCH_IDLE_S: how long the function of the soak idles first."""
    work_s: float = 600.0
    """SIXFOLD_BENCH_WORK_S: how long it works at full rate then; memory must not grow over the second half."""

    def records(self, usual: int, multiple: int = 1_200) -> int:
        """`usual` records at this scale, a multiple of `multiple` so that every partition and key has as many."""
        return max(1, round(usual * self.share / multiple)) * multiple

    def wants(self, *names: str) -> bool:
        """Whether one of `names` is to be measured."""
        return not self.only or not set(names).isdisjoint(self.only)


def from_environment(environment: Mapping[str, str] | None = None, *, rounds: int = Scale.rounds) -> Scale:
    """The scale that the environment asks for, else `rounds`. Raises ValueError for a number that is none."""
    given = os.environ if environment is None else environment

    def number(name: str, default: float) -> float:
        text = given.get(f"SIXFOLD_BENCH_{name}", "")
        try:
            value = float(text or default)
        except ValueError:
            raise ValueError(f"SIXFOLD_BENCH_{name}: expected a number, found {text!r}") from None
        if value <= 0:
            raise ValueError(f"SIXFOLD_BENCH_{name}: expected more than 0, found {text!r}")
        return value

    return Scale(
        rounds=int(number("ROUNDS", rounds)),
        share=number("SHARE", Scale.share),
        only=tuple(filter(None, given.get("SIXFOLD_BENCH_ONLY", "").split(","))),
        idle_s=number("IDLE_S", Scale.idle_s),
        work_s=number("WORK_S", Scale.work_s),
    )
