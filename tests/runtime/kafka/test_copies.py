"""The file in which a member keeps its tables, without a cluster."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from sixfold.bus import port
from sixfold.bus.kafka.copies import COMMIT_S, FOLDER, Copies, Copy
from sixfold.testing import ManualClock

COPY = Copy(b"id", 7, 1)
CLOCK = ManualClock(0)


def rows(copies: Copies, partition: int = 0, at_once: int = 2) -> list[tuple[bytes, bytes]]:
    """All rows, page by page."""
    found: list[tuple[bytes, bytes]] = []
    while page := copies.page("topic", partition, found[-1][0] if found else None, at_once):
        assert len(page) <= at_once
        found += page
    return found


def test_rows_are_replaced_deleted_and_given_in_the_order_of_their_keys(tmp_path: Path) -> None:
    """Within one store the last of a key counts; None deletes; partitions do not see each other's."""
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        copies.store("topic", 0, COPY, [(b"b", b"1"), (b"\xff", b"1"), (b"", b"1"), (b"b", b"2"), (b"c", b"1")], {})
        copies.store("topic", 0, COPY, [(b"c", None), (b"a", b""), (b"never", None)], {})
        copies.store("topic", 1, COPY, [(b"b", b"other")], {})
        assert rows(copies) == [(b"", b"1"), (b"a", b""), (b"b", b"2"), (b"\xff", b"1")]
        assert rows(copies, 1) == [(b"b", b"other")]
        assert copies.get("topic", 0, b"b") == b"2"
        assert copies.get("topic", 0, b"c") is None
        assert copies.get("nowhere", 0, b"b") is None


def test_what_a_copy_reflects_only_rises_and_goes_with_it(tmp_path: Path) -> None:
    """The furthest offset of each input counts; a copy that is dropped has neither rows nor offsets."""
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        copies.store("topic", 0, COPY, [(b"k", b"v")], {"one": 5, "two": 1})
        copies.store("topic", 0, Copy(b"id", 9, 2), [], {"one": 3, "two": 2})
        assert copies.reflected("topic", 0) == {"one": 5, "two": 2}
        assert copies.find("topic", 0) == Copy(b"id", 9, 2)
        copies.drop("topic", 0)
        assert copies.find("topic", 0) is None
        copies.store("topic", 0, COPY, [(b"new", b"v")], {})
        while copies.sweep(1):
            pass
        assert rows(copies) == [(b"new", b"v")]
        assert copies.reflected("topic", 0) == {}


def test_each_open_file_is_one_members_and_what_it_leaves_is_taken_up_again(tmp_path: Path) -> None:
    """Two members of one group have two files, also in one process; a third gets the first that is free."""
    one, two = Copies(tmp_path, "group.", CLOCK), Copies(tmp_path, "group.", CLOCK)
    for copies, value in ((one, b"one"), (two, b"two")):
        copies.store("topic", 0, COPY, [(b"k", value)], {})
    assert (one.get("topic", 0, b"k"), two.get("topic", 0, b"k")) == (b"one", b"two")
    one.close()
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as three, contextlib.closing(two):
        assert three.get("topic", 0, b"k") == b"one"
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["group.0.sqlite", "group.1.sqlite"]


def test_a_full_disk_loses_a_moment_at_most_and_says_so(tmp_path: Path) -> None:
    """What was committed stays, with how far it goes; what came after is told as lost, and what comes next is taken."""
    clock = ManualClock(0)
    with contextlib.closing(Copies(tmp_path, "group.", clock)) as copies:
        copies.store("topic", 0, COPY, [(b"k", b"1")], {})
        clock.advance(COMMIT_S)
        copies.store("topic", 0, Copy(b"id", 8, 1), [(b"k", b"2")], {})
        copies.store("topic", 0, Copy(b"id", 9, 1), [(b"k", b"3")], {})
        assert (copies.get("topic", 0, b"k"), copies.losses) == (b"3", 0)
        pages = copies._connection.pragma("page_count")
        copies._connection.pragma("max_page_count", pages)
        with pytest.raises(port.BusUnavailableError, match="Make room where the disk is full"):
            copies.store("topic", 1, COPY, [(b"%d" % number, bytes(1000)) for number in range(100)], {})
        assert copies.losses == 1
        assert (copies.get("topic", 0, b"k"), copies.find("topic", 0)) == (b"2", Copy(b"id", 8, 1))
        assert copies.get("topic", 1, b"1") is None
        copies._connection.pragma("max_page_count", pages + 1_000)
        copies.store("topic", 0, Copy(b"id", 10, 1), [(b"k", b"4")], {})
    with contextlib.closing(Copies(tmp_path, "group.", clock)) as again:
        assert (again.get("topic", 0, b"k"), again.find("topic", 0)) == (b"4", Copy(b"id", 10, 1))


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """BusUnavailableError with the folder and the reason."""
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(port.BusUnavailableError, match=str(tmp_path / FOLDER)):
        Copies(tmp_path, "group.", CLOCK).find("topic", 0)
