"""Rounds, tallies and scales: what makes the comparison with peers fair, without a broker."""

from __future__ import annotations

import functools
import json

import pytest
from bench.runtime import memory, rounds, scale, tally


async def test_sides_take_turns_in_every_round() -> None:
    """Ours, peer, ours, peer: a machine that slows down slows both."""
    turns: list[str] = []

    async def side(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    sides = {name: functools.partial(side, name) for name in ("ours", "peer")}
    found = await rounds.interleaved(sides, 3, note=lambda line: None)
    assert turns == ["ours", "peer"] * 3
    assert found == {"ours": [1.0, 3.0, 5.0], "peer": [2.0, 4.0, 6.0]}


def test_a_ratio_is_the_median_of_the_rounds_with_its_spread() -> None:
    """One disturbed round moves the spread, not the result."""
    assert rounds.ratio([10, 20, 30], [10, 1, 10]) == rounds.Figure(3.0, 1.0, 20.0)


def test_a_curve_is_judged_by_its_dearest_and_its_cheapest_point() -> None:
    """Each point is the median of its rounds; noise of one round makes no curve."""
    assert rounds.worst_over_best([[1.0, 1.0, 5.0], [2.0, 2.0, 2.0]]) == rounds.Figure(2.0, 2.0, 2.5)


def test_a_record_handled_twice_does_not_stand_in_for_one_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """The count is right and the sum of the numbers is not."""
    counted = tally.Tally(count=3, warm=1)
    for number in (0, 2, 2):
        counted.add(number)
    said = json.loads(capsys.readouterr().out)
    assert (said["handled"], said["numbers"]) == (3, 4)
    assert said["last_s"] >= said["first_s"] > 0


def test_records_of_one_key_that_overlap_or_change_places_are_noticed() -> None:
    """Both break the order that a keyed function promises."""
    overlapping, swapped, orderly = (tally.OrderedTally(9, 1) for _ in range(3))
    overlapping.begin("a", 0)
    overlapping.begin("a", 1)
    swapped.begin("a", 1)
    swapped.end("a", 1)
    swapped.begin("a", 0)
    for key in ("a", "b"):
        orderly.begin(key, 0)
    orderly.end("a", 0)
    orderly.begin("a", 1)
    assert (overlapping.violations, swapped.violations, orderly.violations) == (1, 1, 0)


def test_the_environment_scales_a_run() -> None:
    """Numbers come from SIXFOLD_BENCH_*; what is no number is refused by name."""
    small = scale.from_environment({"SIXFOLD_BENCH_ROUNDS": "1", "SIXFOLD_BENCH_SHARE": "0.01"})
    assert (small.rounds, small.records(240_000), small.wants("noop_vs_bare")) == (1, 2_400, True)
    chosen = scale.from_environment({"SIXFOLD_BENCH_ONLY": "flat_keys"})
    assert (chosen.wants("flat_keys"), chosen.wants("noop_vs_bare")) == (True, False)
    with pytest.raises(ValueError, match="SIXFOLD_BENCH_SHARE: expected a number, found 'half'"):
        scale.from_environment({"SIXFOLD_BENCH_SHARE": "half"})


def test_memory_that_grows_is_seen_and_noise_is_not() -> None:
    """Medians of the first and the last tenth are compared."""
    assert memory.growth_mb([100.0, 101.0] * 50) == 0
    assert memory.growth_mb([100.0 + index for index in range(100)]) == 90
