"""Page records and how pages come of them."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.pages import Kind

PAGE = 512
contents = st.binary(min_size=PAGE, max_size=PAGE) | st.builds(
    lambda at, byte: bytes(at) + bytes([byte]) + bytes(PAGE - at - 1), st.integers(0, PAGE - 1), st.integers(0, 255)
)


@given(st.lists(contents, min_size=1, max_size=8))
def test_a_page_is_what_its_writer_had_after_each_change(versions: list[bytes]) -> None:
    """Images and deltas in any mixture."""
    changes: list[pages.Change] = []
    before: bytes | None = None
    for lsn, after in enumerate(versions, 2):
        record, kind = pages.change_record(7, before, after)
        changes.append(pages.parse(lsn, record))
        assert changes[-1].page == 7
        assert changes[-1].kind is kind
        assert pages.fold(changes, PAGE) == after
        before = after


def test_a_small_change_is_a_small_record() -> None:
    """One byte of four thousand that do not compress: a delta."""
    before = b"".join(zlib.crc32(number.to_bytes(4, "big")).to_bytes(4, "big") for number in range(1024))
    after = before[:99] + b"!" + before[100:]
    record, kind = pages.change_record(1, before, after)
    assert kind is Kind.DELTA
    assert len(record) < 80
    whole, kind = pages.change_record(1, None, after)
    assert kind is Kind.IMAGE
    assert len(whole) > 4000


@given(st.lists(contents, min_size=2, max_size=5), st.data())
def test_a_lost_or_exchanged_change_is_found_out(versions: list[bytes], data: st.DataObject) -> None:
    """The checksum of the page after each change tells, unless the page is right all the same."""
    changes: list[pages.Change] = []
    before: bytes | None = None
    for lsn, after in enumerate(versions, 2):
        changes.append(pages.parse(lsn, pages.change_record(7, before, after)[0]))
        before = after
    del changes[data.draw(st.integers(0, len(changes) - 2))]
    with contextlib.suppress(pages.PageDamagedError):
        assert pages.fold(changes, PAGE) == versions[-1]


@given(st.binary(max_size=60))
def test_rubbish_is_no_page_record(record: bytes) -> None:
    """It is refused, or passed over where a batch has it."""
    if not record.startswith(b"S6PG"):
        with pytest.raises(pages.NotAPageRecordError, match="LSN 5"):
            pages.parse(5, record)
        assert list(pages.changes(5, [record])) == []
        assert pages.page_bytes(record) == 0


def test_a_body_that_inflates_beyond_a_page_is_refused_and_not_inflated() -> None:
    """A bomb costs a page of memory."""
    bomb = pages.Change(3, Kind.IMAGE, 1, 0, zlib.compress(bytes(100_000_000)))
    with pytest.raises(pages.PageDamagedError, match="513 bytes in place of 512"):
        pages.fold([bomb], PAGE)


def test_a_format_names_the_size_of_a_page() -> None:
    """And nothing else is a format."""
    assert pages.page_bytes(pages.format_record(4096)) == 4096
    assert pages.page_bytes(pages.size_record(4096)) == 0
    with pytest.raises(pages.PageError, match="expected one of 512"):
        pages.format_record(1000)


def test_pages_beyond_a_shrink_are_lost_up_to_it() -> None:
    """Only those, and only for who reads after it."""
    shrinks = [pages.Shrink(10, 4), pages.Shrink(20, 8)]
    assert pages.vanished_at(shrinks, 5, 30) == 10
    assert pages.vanished_at(shrinks, 9, 30) == 20
    assert pages.vanished_at(shrinks, 9, 15) == 10
    assert pages.vanished_at(shrinks, 3, 30) == 0
