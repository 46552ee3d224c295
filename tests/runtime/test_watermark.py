"""The watermark never passes an unfinished record, whatever the order of completion."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sixfold.worker.watermark import Watermark


@given(
    offsets=st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True).map(sorted),
    cuts=st.lists(st.integers(1, 59), max_size=5, unique=True).map(sorted),
    seed=st.integers(),
)
def test_it_never_passes_an_unfinished_record_and_ends_after_the_last(
    offsets: list[int], cuts: list[int], seed: int
) -> None:
    """Against the plain definition: the lowest unfinished offset, or the last one plus one; gaps and batches allowed."""
    rng = random.Random(seed)
    batches = [
        batch for a, b in zip([0, *cuts], [*cuts, len(offsets)], strict=True) if (batch := offsets[a : min(b, 60)])
    ]
    mark = Watermark()
    begun: list[int] = []
    unfinished: list[int] = []
    last = None
    while batches or unfinished:
        if batches and (not unfinished or rng.random() < 0.3):
            batch = batches.pop(0)
            mark.begin(batch)
            begun += batch
            unfinished += batch
            continue
        offset = unfinished.pop(rng.randrange(len(unfinished)))
        moved = mark.finish(offset)
        passed = [each for each in begun if each < min(unfinished, default=begun[-1] + 1)]
        expected = passed[-1] + 1 if passed else None
        assert mark.position == expected
        assert moved == (expected != last)
        assert mark.unfinished == len(unfinished)
        assert mark.span == len(begun) - len(passed)
        last = expected
    assert mark.position == offsets[-1] + 1


def test_a_record_finished_out_of_order_waits_for_those_before_it() -> None:
    """Ten, eleven, twelve: finishing twelve first moves nothing."""
    mark = Watermark()
    mark.begin([10, 11, 12])
    assert [mark.finish(12), mark.position] == [False, None]
    assert [mark.finish(10), mark.position] == [True, 11]
    assert [mark.finish(11), mark.position] == [True, 13]
