"""The events that a partition knows: for how long, how many, and after a restart."""

from __future__ import annotations

import random

import pytest

from sixfold.bus import Record, port
from sixfold.worker import seen
from sixfold.worker.seen import Seen, digest_of


class Rows:
    """A table's rows as a bus has them."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def settle(self, rows: port.Rows) -> None:
        for key, value in rows.items():
            if value is None:
                del self.rows[key]
            else:
                self.rows[key] = value

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        return sorted(self.rows.items())


@pytest.mark.parametrize("seed", range(20))
async def test_what_was_handled_is_known_for_as_long_as_was_asked_whoever_owns_the_partition(seed: int) -> None:
    """Against a plain dictionary: events at random times, settles and new owners in between."""
    rng, rows, keep_ms = random.Random(seed), Rows(), 10_000
    known, handled_ms, now_ms = Seen(0, rows, keep_ms / 1000), dict[int, int](), 1_000_000
    await known.load()
    for _ in range(400):
        step_ms = rng.choice((0, 1, 50, 400, 400, 3_000, 30_000 if rng.random() < 0.05 else 7))
        if step_ms >= 3_000:  # settles are a moment behind
            rows.settle(known.take())
        now_ms += step_ms
        digest = rng.choice(sorted(handled_ms)) if handled_ms and rng.random() < 0.4 else rng.getrandbits(64)
        age_ms = now_ms - handled_ms.get(digest, -(10**12))
        if known.has(digest, now_ms):
            assert age_ms <= keep_ms * 1.5, "what is forgotten must make room"
        else:
            assert age_ms > keep_ms, "it was handled a moment ago"
            known.add(digest, now_ms)
            handled_ms[digest] = now_ms
        if rng.random() < 0.3:
            rows.settle(known.take())
            if rng.random() < 0.2:
                known = Seen(0, rows, keep_ms / 1000)
                await known.load()
    assert sum(map(len, rows.rows.values())) // 8 < len(handled_ms), "old rows go"


async def test_only_so_many_are_kept_the_newest_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and rows are bounded however many events come within the time."""
    monkeypatch.setattr(seen, "RECENT_MAX", 16)
    monkeypatch.setattr(seen, "ROW_IDS_MAX", 50)
    rows = Rows()
    known = Seen(0, rows, 1e6, ids_max=1_000)
    await known.load()
    for digest in range(5_000):
        assert not known.has(digest, digest)
        known.add(digest, digest)
        if digest % 70 == 69:
            rows.settle(known.take())
    rows.settle(known.take())
    again = Seen(0, rows, 1e6, ids_max=1_000)
    await again.load()
    for each in (known, again):
        assert all(each.has(digest, 5_000) for digest in range(4_000, 5_000))
        assert not any(each.has(digest, 5_000) for digest in range(3_000))
    assert 1_000 <= sum(map(len, rows.rows.values())) // 8 <= 1_200


def test_an_event_without_an_id_cannot_be_recognised() -> None:
    """Plain records have no `ce_id`; their bytes alone say nothing, as a sender may mean the same thing twice."""
    record = Record(
        topic="t", partition=0, offset=1, timestamp_ms=0, key=None, value=b"", headers=[("ce_source", b"/a")]
    )
    assert digest_of(record) is None
