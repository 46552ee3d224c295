"""Plans of faults: drawn from a seed, alike each time, and with every fault in them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from tests.faults import plan
from tests.support.checkout import ROOT

from sixfold_functions.volume.core import layout


def first(count: int, *, seed: int = 1, bus: str = "embedded") -> list[tuple[plan.Episode, ...]]:
    """The first rounds of a seed."""
    return list(itertools.islice(plan.rounds(seed, bus), count))


def test_a_seed_gives_the_same_rounds_each_time_and_another_seed_others() -> None:
    """So that a run can be had again."""
    assert first(20, seed=7) == first(20, seed=7)
    assert first(20, seed=7) != first(20, seed=8)


@pytest.mark.parametrize("bus", ["embedded", "kafka"])
def test_every_fault_of_its_bus_comes_before_one_comes_again_and_none_of_the_other_bus(bus: str) -> None:
    """Copies are struck in each round, and something else too."""
    struck = zip(*first(40, bus=bus), strict=True)
    for episodes, faults in zip(struck, (plan.COPIES, plan.OTHERS), strict=True):
        expected = {fault.name for fault in faults if fault.bus in ("", bus)}
        assert {episode.fault for episode in episodes[: len(expected)]} == expected
        assert {episode.fault for episode in episodes} == expected


@pytest.mark.parametrize(
    ("fault", "count"), [("copy killed", 1), ("two copies killed", 2), ("quorum lost", 3), ("zone killed", 2)]
)
def test_victims_are_copies_as_many_as_the_fault_says(fault: str, count: int) -> None:
    """And those of a zone are both of one."""
    struck = [copies.victims for copies, _ in first(200) if copies.fault == fault]
    assert len(struck) > 10
    assert {len(set(victims)) for victims in struck} == {count}
    assert {victim for victims in struck for victim in victims} <= set(layout.COPIES)
    if fault == "zone killed":
        assert set(struck) == {layout.expand(zone) for zone in layout.ZONES}


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--rounds", "0"], ["--mutation", "none"]])
def test_a_run_that_would_prove_nothing_is_refused(words: list[str]) -> None:
    """Without a traceback; nothing was started."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "expected" in done.stderr or "invalid choice" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
