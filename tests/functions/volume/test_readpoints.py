"""The low-water mark: never above a reader that is alive, never back, and never held up by one that is gone."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from sixfold_functions.volume.core.readpoints import ReadPoints


def test_without_readers_the_mark_follows_the_durable_lsn_at_a_distance() -> None:
    """A reader that begins now is heard of within that time."""
    points = ReadPoints(10.0)
    assert points.low_water(100, 0.0) == (0, [])
    assert points.low_water(200, 5.0) == (0, [])
    assert points.low_water(300, 10.0) == (100, [])
    assert points.low_water(400, 15.0) == (200, [])


def test_the_mark_stays_at_the_lowest_reader_until_it_releases() -> None:
    """A replica's word, and a reader in the writer's own process."""
    points = ReadPoints(10.0)
    points.low_water(100, 0.0)
    assert points.hold("r1", 50, 1.0)
    assert points.hold_here("report", 30)
    assert points.low_water(100, 10.0) == (30, [])
    points.release("report")
    assert points.low_water(100, 10.5) == (50, [])
    assert points.hold("r1", 90, 11.0)
    assert points.low_water(100, 11.0) == (90, [])
    assert points.readers() == {"r1": 90}


def test_a_reader_that_is_silent_is_dropped_and_comes_too_late_afterwards() -> None:
    """One in this process cannot be lost."""
    points = ReadPoints(10.0)
    points.low_water(100, 0.0)
    points.hold("r1", 50, 0.0)
    points.hold_here("report", 60)
    assert points.low_water(100, 10.0) == (50, [])
    assert points.low_water(100, 10.1) == (60, ["r1"])
    assert not points.hold("r1", 50, 10.2)
    assert points.readers() == {"report": 60}
    assert points.hold("r1", 100, 10.3)


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "here", "release", "look"]),
        st.sampled_from("abc"),
        st.integers(0, 30),
        st.floats(0.0, 8.0),
    ),
    max_size=60,
)


@given(HAPPENINGS)
@settings(max_examples=300, deadline=None)
def test_the_mark_never_goes_back_and_never_passes_a_reader_that_is_alive(
    happenings: list[tuple[str, str, int, float]],
) -> None:
    """Against a plain list of who said what when; a reader begins at the durable LSN and is heard of in time."""
    points, now, durable, mark = ReadPoints(10.0), 0.0, 0, 0
    points.low_water(durable, now)
    alive: dict[str, tuple[int, float | None]] = {}
    for what, reader, step, passed in happenings:
        begun, began_at = durable, now
        now += passed
        durable += step
        if what == "hold" and now - began_at <= 10.0:
            lsn = alive[reader][0] if reader in alive else begun
            kept = points.hold(reader, lsn, now)
            heard = alive.get(reader, (0, now))[1]
            assert kept or (heard is not None and now - heard > 10.0), "one that is alive is never refused"
            if kept:
                alive[reader] = lsn, now
            else:
                alive.pop(reader, None)
        elif what == "here" and points.hold_here(reader, durable):
            alive[reader] = durable, None
        elif what == "release":
            points.release(reader)
            alive.pop(reader, None)
        found, lost = points.low_water(durable, now)
        for name in lost:
            assert alive[name][1] is not None
            del alive[name]
        assert mark <= found <= durable
        assert all(found <= lsn for lsn, _ in alive.values())
        mark = found
