"""Which events a partition has handled already: what makes at-least-once delivery effectively once.

A producer's retry, a crash between outputs and commit, or an upstream function's redelivery may bring an event twice,
with the same id (`cloudevents.derived_id`). With `delivery="effectively-once"` each handled event leaves its id as a row
that is settled with its outputs and its offset, and an event whose id is known is passed over. Ids are kept by
generations of `keep_s`; one is dropped when two newer ones have begun, so each id is known for `keep_s` at least.
"""

from __future__ import annotations

from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.function import SEEN_TABLE

DROPPED_PER_RECORD = 20
"""Old rows that are deleted with each new one, so that no settle has to delete many."""


class Seen:
    """The ids of one partition number."""

    def __init__(self, number: int, reader: TableReader, keep_s: float) -> None:
        """`reader` sees rows that are not settled yet."""
        self._number = number
        self._reader = reader
        self._keep_ms = round(keep_s * 1000)
        self._generation = -1
        self._old: list[bytes] = []

    async def known(self, event_id: str, now_ms: int) -> bool:
        """Whether an event of this id was handled within the last `keep_s`, or up to twice that."""
        generation = now_ms // self._keep_ms
        for each in (generation, generation - 1):
            if await self._reader.state_get(SEEN_TABLE, self._number, _row(each, event_id)) is not None:
                return True
        return False

    async def note(self, event_id: str, now_ms: int) -> list[port.StatePut]:
        """The rows to settle with an event that was handled."""
        generation = now_ms // self._keep_ms
        if generation != self._generation:
            self._generation = generation
            stored = await self._reader.state_scan(SEEN_TABLE, self._number)
            self._old = [key for key, _ in stored if int(key.partition(b"/")[0]) < generation - 1]
        dropped, self._old = self._old[:DROPPED_PER_RECORD], self._old[DROPPED_PER_RECORD:]
        partition = self._number
        return [
            port.StatePut(SEEN_TABLE, partition, _row(generation, event_id), b""),
            *(port.StatePut(SEEN_TABLE, partition, key, None) for key in dropped),
        ]


def _row(generation: int, event_id: str) -> bytes:
    return f"{generation}/{event_id}".encode()
