"""Answered requests are remembered while their signatures are good, and then forgotten."""

from __future__ import annotations

from sixfold.context import Table
from sixfold_functions.kms.memory import SWEEP_MS, Memory

KEEP_MS = 600_000


class Rows:
    """What a bus has stored."""

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        return None

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        return []


async def test_a_request_is_remembered_and_then_forgotten() -> None:
    """For twice the five minutes that a signature is good; other rows of the table stay."""
    table = Table("state", 0, Rows())
    table.put("chain/kms.requests-0", (7, "hash"))
    table.put("alias/alias/a", "key")
    memory, now_ms = Memory(table), 1_790_000_000_000
    assert not await memory.has("first")
    await memory.add("first", now_ms, keep_ms=KEEP_MS)
    for minute in range(1, 11):
        await memory.add(f"r{minute}", now_ms + minute * SWEEP_MS, keep_ms=KEEP_MS)
        assert await memory.has("first")
    await memory.add("last", now_ms + 11 * SWEEP_MS, keep_ms=KEEP_MS)
    assert not await memory.has("first")
    assert await memory.has("r1")
    assert await table.get("chain/kms.requests-0") == [7, "hash"]
    assert await table.get("alias/alias/a") == "key"
