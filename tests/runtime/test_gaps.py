"""Offsets finished out of order, as text beside the committed offset."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from sixfold import gaps

RANGES = st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**20)), max_size=40)


def laid_out(position: int, steps: list[tuple[int, int]]) -> list[gaps.Range]:
    """Ranges above `position` from (offsets skipped, offsets done)."""
    ranges, last = [], position
    for skipped, done in steps:
        ranges.append((last + skipped, last + skipped + done))
        last += skipped + done
    return ranges


@given(position=st.integers(0, 2**60), steps=RANGES)
def test_ranges_come_back_as_they_went_in(position: int, steps: list[tuple[int, int]]) -> None:
    """What is encoded is decoded, whatever the offsets."""
    ranges = laid_out(position, steps)
    assert gaps.decode(position, gaps.encode(position, ranges)) == ranges


def test_no_gap_is_no_text() -> None:
    """The common case costs nothing."""
    assert gaps.encode(5, []) == ""
    assert gaps.decode(5, "") == []


def test_what_does_not_fit_is_left_out_from_the_far_end() -> None:
    """The text stays below Kafka's limit, and what it holds is the nearest to the committed offset."""
    ranges = laid_out(0, [(1000, 1000)] * 10_000)
    text = gaps.encode(0, ranges)
    assert len(text) <= gaps.TEXT_CHARS_MAX < 4096
    found = gaps.decode(0, text)
    assert 500 < len(found) < 10_000
    assert found == ranges[: len(found)]


@given(text=st.text() | st.text(alphabet="ABCabc-_=09").map(lambda body: gaps.PREFIX + body))
def test_any_other_text_is_no_gap_or_well_formed_ranges(text: str) -> None:
    """Another tool's metadata, or rubbish, never raises; ranges rise and are not empty."""
    last = 7
    for start, end in gaps.decode(7, text):
        assert last <= start < end
        last = end


def test_a_cut_number_is_no_gap() -> None:
    """A text that ends inside a number is not read in part."""
    whole = gaps.encode(0, [(300, 600)])
    data = base64.urlsafe_b64decode(whole[len(gaps.PREFIX) :] + "==")
    for size in range(1, len(data)):
        cut = gaps.PREFIX + base64.urlsafe_b64encode(data[:size]).decode().rstrip("=")
        assert gaps.decode(0, cut) == []
