"""The file in which a member keeps its tables, without a cluster."""

from __future__ import annotations

import contextlib
import operator
import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from sixfold.bus import port
from sixfold.bus.kafka import copies as kafka_copies
from sixfold.bus.kafka.copies import FOLDER, WRITE_S, Copies, Copy
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
    """The last of a key counts, written or not; None deletes; partitions do not see each other's."""
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        copies.store("topic", 0, COPY, {b"b": b"1", b"\xff": b"1", b"": b"1", b"c": b"1"}, {})
        assert copies.part("topic", 0).get(b"b") == b"1"
        copies.store("topic", 0, COPY, {b"b": b"2", b"c": None, b"a": b"", b"never": None}, {})
        copies.store("topic", 1, COPY, {b"b": b"other"}, {})
        assert rows(copies) == [(b"", b"1"), (b"a", b""), (b"b", b"2"), (b"\xff", b"1")]
        assert rows(copies, 1) == [(b"b", b"other")]
        assert copies.part("topic", 0).get(b"b") == b"2"
        assert copies.part("topic", 0).get(b"c") is None
        assert copies.part("nowhere", 0).get(b"b") is None


def test_what_a_copy_reflects_only_rises_and_goes_with_it(tmp_path: Path) -> None:
    """The furthest offset of each input counts; a copy that is dropped has neither rows nor offsets."""
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        copies.store("topic", 0, COPY, {b"k": b"v"}, {"one": 5, "two": 1})
        copies.store("topic", 0, Copy(b"id", 9, 2), {}, {"one": 3, "two": 2})
        assert copies.reflected("topic", 0) == {"one": 5, "two": 2}
        assert copies.find("topic", 0) == Copy(b"id", 9, 2)
        copies.drop("topic", 0)
        assert copies.find("topic", 0) is None
        copies.store("topic", 0, COPY, {b"new": b"v"}, {})
        while copies.sweep(1):
            pass
        assert rows(copies) == [(b"new", b"v")]
        assert copies.reflected("topic", 0) == {}


def test_each_open_file_is_one_members_and_what_it_leaves_is_taken_up_again(tmp_path: Path) -> None:
    """Two members of one group have two files, also in one process; a third gets the first that is free."""
    one, two = Copies(tmp_path, "group.", CLOCK), Copies(tmp_path, "group.", CLOCK)
    for copies, value in ((one, b"one"), (two, b"two")):
        copies.store("topic", 0, COPY, {b"k": value}, {})
    assert (one.part("topic", 0).get(b"k"), two.part("topic", 0).get(b"k")) == (b"one", b"two")
    one.close()
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as three, contextlib.closing(two):
        assert three.part("topic", 0).get(b"k") == b"one"
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [
        f"group.{number}.{kind}" for number in (0, 1) for kind in ("lmdb", "lock")
    ]


def test_a_full_file_loses_a_moment_at_most_and_says_so(tmp_path: Path) -> None:
    """What was committed stays, with how far it goes; what came after is told as lost, and what comes next is taken."""
    clock = ManualClock(0)
    with contextlib.closing(Copies(tmp_path, "group.", clock, bytes_max=256 * 1024)) as copies:
        copies.store("topic", 0, COPY, {b"k": b"1"}, {})
        clock.advance(WRITE_S)
        copies.store("topic", 0, Copy(b"id", 8, 1), {b"k": b"2"}, {})
        copies.store("topic", 0, Copy(b"id", 9, 1), {b"k": b"3"}, {})
        assert (copies.part("topic", 0).get(b"k"), copies.losses) == (b"3", 0)
        clock.advance(WRITE_S)
        with pytest.raises(port.BusUnavailableError, match="Make room where the disk is full"):
            copies.store("topic", 1, COPY, {b"%d" % number: bytes(1000) for number in range(1000)}, {})
        assert copies.losses == 1
        assert (copies.part("topic", 0).get(b"k"), copies.find("topic", 0)) == (b"2", Copy(b"id", 8, 1))
        assert (copies.part("topic", 1).get(b"1"), copies.find("topic", 1)) == (None, None)
        copies.store("topic", 0, Copy(b"id", 10, 1), {b"k": b"4"}, {})
    with contextlib.closing(Copies(tmp_path, "group.", clock)) as again:
        assert (again.part("topic", 0).get(b"k"), again.find("topic", 0)) == (b"4", Copy(b"id", 10, 1))


@pytest.mark.parametrize(("limit", "most"), [("WAITING_ROWS", 10), ("WAITING_BYTES", 1_100_000)])
def test_what_waits_to_be_written_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    """Within a moment, too. Rows that are stored again and again count once."""
    monkeypatch.setattr(kafka_copies, limit, most)
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        for number in range(50):
            copies.store("topic", 0, Copy(b"id", number, 1), {b"%d" % (number % 25): bytes(100_000)}, {})
            assert copies.part("topic", 0).get(b"0") == bytes(100_000)
            assert copies._waiting_rows == sum(len(part.rows) for part in copies._parts.values()) < 11
        with contextlib.closing(copies._open):  # type: ignore[type-var]  # as one that is killed
            copies._open = None
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as again:
        found = again.find("topic", 0)
        assert found is not None
        assert 39 <= found.next_offset < 50


KEYS = strategies.builds(
    operator.add,
    strategies.sampled_from([b"", b"a", b"x" * 479, b"x" * 480, b"x" * 481, b"x" * 600]),
    strategies.binary(max_size=2),
)
ROWS = strategies.lists(strategies.tuples(KEYS, strategies.none() | strategies.binary(max_size=3)), max_size=8)


@given(stores=strategies.lists(ROWS, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_keys_of_any_length_are_kept_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, stores: list[list[tuple[bytes, bytes | None]]]
) -> None:
    """LMDB itself takes 511 bytes."""
    expected: dict[bytes, bytes] = {}
    with contextlib.closing(Copies(tmp_path_factory.mktemp("d"), "group.", CLOCK)) as copies:
        copies.store("topic", 1, COPY, {b"x" * 480: b"other"}, {})
        for stored in stores:
            copies.store("topic", 0, COPY, dict(stored), {})
            for key, value in stored:
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
            for key, _ in stored:
                assert copies.part("topic", 0).get(key) == expected.get(key)
        assert rows(copies) == sorted(expected.items())
        copies.drop("topic", 0)
        while copies.sweep(3):
            pass
        assert rows(copies) == []
        assert rows(copies, 1) == [(b"x" * 480, b"other")]
        copies.store("topic", 0, COPY, {}, {})
        assert rows(copies) == []


@pytest.mark.parametrize("harm", ["garbage", "cut off", "empty", "another boot's"])
def test_a_file_that_is_not_what_was_written_is_made_anew(tmp_path: Path, harm: str) -> None:
    """Reading pages that are not there would kill the process."""
    with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
        copies.store("topic", 0, COPY, {b"%d" % number: bytes(1000) for number in range(1000)}, {})
    file = tmp_path / FOLDER / "group.0.lmdb"
    match harm:
        case "garbage":
            file.write_bytes(b"no database " * 1000)
        case "cut off":
            os.truncate(file, file.stat().st_size // 2)
        case "empty":
            file.write_bytes(b"")
        case _:
            file.with_suffix(".lock").write_text("another boot")
    for expected in (None, Copy(b"id", 7, 1)):
        with contextlib.closing(Copies(tmp_path, "group.", CLOCK)) as copies:
            assert copies.find("topic", 0) == expected
            copies.store("topic", 0, COPY, {b"k": b"v"}, {})
            assert rows(copies) == [(b"k", b"v")]


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """BusUnavailableError with the folder and the reason."""
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(port.BusUnavailableError, match=str(tmp_path / FOLDER)):
        Copies(tmp_path, "group.", CLOCK).find("topic", 0)
