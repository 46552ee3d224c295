"""Rows that a worker keeps: each handler sees what the one before it wrote, and memory is bounded."""

from __future__ import annotations

import random

import pytest

from sixfold.worker.tables import Tables

PLACE = ("t", 0)


class Stored:
    """The bus's rows."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.reads = 0

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        self.reads += 1
        return self.rows.get(key)

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        return [(key, value) for key, value in sorted(self.rows.items()) if value is not None]


@pytest.mark.parametrize("seed", range(20))
async def test_rows_are_as_the_last_handler_left_them_whatever_was_settled_and_dropped(seed: int) -> None:
    """Against a plain dictionary: reads, writes, deletions and settles in any order, with room for twenty rows."""
    rng, stored, model = random.Random(seed), Stored(), dict[bytes, bytes | None]()
    tables, taken = Tables(stored, rows_max=20), list[dict[bytes, bytes | None]]()
    settled_max = 0
    for step in range(2_000):
        key = b"%d" % rng.randrange(60)
        match rng.randrange(4):
            case 0 | 1:
                assert await tables.state_get(*PLACE, key) == model.get(key)
            case 2:
                model[key] = None if rng.random() < 0.2 else b"%d" % step
                tables.wrote({PLACE: {key: model[key]}})
            case 3 if rng.random() < 0.3:
                taken.append(dict(tables.take().get(PLACE, {})))
                assert not tables.written
            case 3 if taken and rng.random() < 0.5:
                settled = taken.pop(0)
                stored.rows.update(settled)
                tables.settled()
                settled_max = max(settled_max, len(settled))
        for kept in tables._kept.values():
            assert len(kept.rows) < 10
            assert len(kept.earlier) < 10 + max(1, settled_max)
        if step % 100 == 0:
            there = {key: value for key, value in model.items() if value is not None}
            assert dict(await tables.state_scan(*PLACE)) == there
    assert stored.reads < 1_000, "what is known is not read again"


async def test_a_row_is_read_once_and_partitions_do_not_see_each_others() -> None:
    """Also one that is not there; a write needs no read."""
    stored = Stored()
    tables = Tables(stored)
    for _ in range(3):
        assert await tables.state_get("t", 0, b"none") is None
    tables.wrote({PLACE: {b"k": b"v"}})
    assert await tables.state_get("t", 0, b"k") == b"v"
    assert stored.reads == 1
    assert await tables.state_get("t", 1, b"k") is None
    assert await tables.state_get("u", 0, b"k") is None


async def test_large_rows_are_kept_up_to_so_many_bytes() -> None:
    """As read and as settled; what was used last stays."""
    stored = Stored()
    tables = Tables(stored, bytes_max=100_000)
    for number in range(500):
        key = b"%d" % number
        stored.rows[key] = bytes(1_000)
        assert await tables.state_get(*PLACE, key) == bytes(1_000)
        if number % 2:
            tables.wrote({PLACE: {key: bytes(1_500)}})
            stored.rows.update(tables.take()[PLACE])
            tables.settled()
        [kept] = tables._kept.values()
        held = {**kept.earlier, **kept.rows}.values()
        assert sum(len(value) for value in held if value is not None) < 105_000
    stored.reads = 0
    assert await tables.state_get(*PLACE, b"499") == bytes(1_500)
    assert stored.reads == 0


async def test_a_read_that_was_overtaken_is_read_again() -> None:
    """The row was written, settled and dropped from memory while the bus was asked: its answer is an old one."""
    stored = Stored()
    tables = Tables(stored, rows_max=5)
    known = stored.state_get

    async def slow(table: str, partition: int, key: bytes) -> bytes | None:
        old = await known(table, partition, key)
        if stored.reads == 1:
            for number in (0, *range(100, 120)):
                tables.wrote({PLACE: {b"%d" % number: b"new"}})
                stored.rows.update(tables.take()[PLACE])
                tables.settled()
        return old

    stored.state_get = slow  # type: ignore[method-assign]
    assert await tables.state_get("t", 0, b"0") == b"new"
    assert await tables.state_get("t", 0, b"0") == b"new"
    assert stored.reads == 2


@pytest.mark.parametrize("settles", [False, True])
async def test_a_read_that_was_overtaken_by_a_write_gives_what_was_written(*, settles: bool) -> None:
    """Whether it is on its way to the bus by then or not."""
    stored = Stored()
    tables = Tables(stored)
    known = stored.state_get

    async def slow(table: str, partition: int, key: bytes) -> bytes | None:
        old = await known(table, partition, key)
        tables.wrote({PLACE: {key: b"new"}})
        if settles:
            tables.take()
        return old

    stored.state_get = slow  # type: ignore[method-assign]
    assert await tables.state_get("t", 0, b"0") == b"new"
    assert stored.reads == 1


async def test_a_scan_sees_what_was_written_before_it_though_that_is_settled_meanwhile() -> None:
    """The bus read that part of the table before it stored the row."""
    stored = Stored()
    tables = Tables(stored)
    known = stored.state_scan
    for value in (b"old", b"new"):
        tables.wrote({PLACE: {b"k": value}})
        tables.take()

    async def slow(table: str, partition: int) -> list[tuple[bytes, bytes]]:
        rows = await known(table, partition)
        tables.settled()
        tables.settled()
        tables.wrote({PLACE: {b"later": b"row"}})
        return rows

    stored.state_scan = slow  # type: ignore[method-assign]
    assert await tables.state_scan("t", 0) == [(b"k", b"new"), (b"later", b"row")]
