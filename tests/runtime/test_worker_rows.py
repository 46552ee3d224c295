"""Rows that a worker keeps: each handler sees what the one before it wrote, and memory is bounded."""

from __future__ import annotations

import random

import pytest

from sixfold.bus import StatePut
from sixfold.worker.tables import Tables


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
    tables, waiting = Tables(stored, rows_max=20), list[StatePut]()
    settled_max = 0
    for step in range(2_000):
        key = b"%d" % rng.randrange(60)
        match rng.randrange(4):
            case 0 | 1:
                assert await tables.state_get("t", 0, key) == model.get(key)
            case 2:
                put = StatePut("t", 0, key, None if rng.random() < 0.2 else b"%d" % step)
                model[key] = put.value
                tables.wrote([put])
                waiting.append(put)
            case 3 if rng.random() < 0.3:
                settled = {put.key: put for put in waiting}
                stored.rows.update({key: put.value for key, put in settled.items()})
                tables.settled(settled.values())
                waiting.clear()
                settled_max = max(settled_max, len(settled))
        for share in tables._shares.values():
            assert len(share.rows) <= 10
            assert len(share.earlier) <= 10 + settled_max
            assert len(share.unsettled) <= len({put.key for put in waiting})
    assert dict(await tables.state_scan("t", 0)) == {key: value for key, value in model.items() if value is not None}


async def test_a_row_is_read_once_and_partitions_do_not_see_each_others() -> None:
    """Also one that is not there; a write needs no read."""
    stored = Stored()
    tables = Tables(stored)
    for _ in range(3):
        assert await tables.state_get("t", 0, b"none") is None
    tables.wrote([StatePut("t", 0, b"k", b"v")])
    assert await tables.state_get("t", 0, b"k") == b"v"
    assert stored.reads == 1
    assert await tables.state_get("t", 1, b"k") is None
    assert await tables.state_get("u", 0, b"k") is None


async def test_a_read_that_was_overtaken_is_read_again() -> None:
    """The row was written, settled and dropped from memory while the bus was asked: its answer is an old one."""
    stored = Stored()
    tables = Tables(stored, rows_max=5)
    known = stored.state_get

    async def slow(table: str, partition: int, key: bytes) -> bytes | None:
        old = await known(table, partition, key)
        if stored.reads == 1:
            for number in (0, *range(100, 120)):
                put = StatePut("t", 0, b"%d" % number, b"new")
                tables.wrote([put])
                stored.rows[put.key] = put.value
                tables.settled([put])
        return old

    stored.state_get = slow  # type: ignore[method-assign]
    assert await tables.state_get("t", 0, b"0") == b"new"
    assert await tables.state_get("t", 0, b"0") == b"new"
    assert stored.reads == 2
