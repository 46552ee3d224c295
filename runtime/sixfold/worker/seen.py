"""Which events a partition has handled already: what makes at-least-once delivery effectively once.

A producer's retry, a crash between outputs and commit, or an upstream function's redelivery may bring an event twice,
with the same source and id (`cloudevents.derived_id`). With `delivery="effectively-once"` an event that was handled is
known from then on, and passed over when it comes again. What is kept of one is a digest of eight bytes (two of a million
events have the same one with a chance of 1 in 37 million). Those of all records of a settle are one row, stored with
their outputs and offsets, so a settle costs one row more, not one for each record; a new owner reads the rows back.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.function import SEEN_TABLE
from sixfold_events import cloudevents

GENERATIONS = 4
"""Digests are dropped by generations: `keep_s` has so many, and the one that is filled comes to them."""
IDS_MAX = 2_000_000
"""Of a partition number, some 16 MB; beyond it the oldest go before their time."""
RECENT_MAX = 32_768
"""Digests kept in a set, which is quick to fill and takes ten times the memory of an array."""
ROW_IDS_MAX = 10_000
"""Digests of one row, 80 KB."""
DROPPED_PER_ROW = 4
"""Old rows that are deleted with each new one, so that no settle has to delete many."""
_KEY = struct.Struct(">QQ")
_EMPTY = array("Q")


def digest_of(record: port.Record) -> int | None:
    """What is kept of a record's event; None for one without an id, which nobody could recognise."""
    identity = cloudevents.identity_of(record.headers)
    if identity is None:
        return None
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "big")


class Seen:
    """The events of one partition number. `load` it before the first question."""

    def __init__(self, number: int, reader: TableReader, keep_s: float, *, ids_max: int = IDS_MAX) -> None:
        """An event is known for `keep_s` after it was handled, or until `ids_max` newer ones were."""
        self._number = number
        self._reader = reader
        self._keep_ms = round(keep_s * 1000)
        self._ids_max = ids_max
        self._loading = asyncio.Lock()
        self.loaded = False
        self._recent: set[int] = set()
        """Of the generation that is filled; the rest of it is sorted in `_sorted`."""
        self._sorted = _EMPTY
        self._begun_ms = self._last_ms = 0
        self._full: deque[tuple[int, array[int]]] = deque()
        """Earlier generations, the oldest first: when each ended, and its digests, sorted."""
        self._fresh = array("Q")
        """Digests that are in no row yet."""
        self._rows: deque[tuple[int, bytes, int]] = deque()
        """Rows that are stored or on their way, the oldest first: when each was made, its key, how many it holds."""
        self._stored = 0

    async def load(self) -> None:
        """Read what the last owner stored."""
        async with self._loading:
            if self.loaded:
                return
            for key, value in await self._reader.state_scan(SEEN_TABLE, self._number):
                made_ms, digests = _KEY.unpack(key)[0], array("Q")
                digests.frombytes(value)
                self._remember(digests, made_ms)
                self._rows.append((made_ms, key, len(digests)))
                self._stored += len(digests)
            self.loaded = True

    def has(self, digest: int, now_ms: int) -> bool:
        """Whether the event was handled, and not too long ago."""
        self._forget(now_ms)
        if digest in self._recent or _holds(self._sorted, digest):
            return True
        return any(_holds(digests, digest) for _, digests in self._full)

    def add(self, digest: int, now_ms: int) -> None:
        """An event was handled. Call it when its outputs and rows are in the share that is open (`PartitionState.made`)."""
        self._fresh.append(digest)
        self._remember((digest,), now_ms)

    def take(self) -> port.Rows:
        """The rows to settle with the events that were added since the last call."""
        rows, now_ms = dict[bytes, bytes | None](), self._last_ms
        for start in range(0, len(self._fresh), ROW_IDS_MAX):
            digests = self._fresh[start : start + ROW_IDS_MAX]
            key = _KEY.pack(now_ms, digests[-1])
            rows[key] = digests.tobytes()
            self._rows.append((now_ms, key, len(digests)))
            self._stored += len(digests)
        self._fresh = array("Q")
        for _ in range(DROPPED_PER_ROW * len(rows)):
            made_ms, key, count = self._rows[0]
            if made_ms >= now_ms - self._keep_ms and self._stored - count < self._ids_max:
                break
            self._rows.popleft()
            self._stored -= count
            rows[key] = None
        return rows

    def _remember(self, digests: Iterable[int], now_ms: int) -> None:
        filled = len(self._recent) + len(self._sorted)
        if filled and (
            now_ms - self._begun_ms >= self._keep_ms // GENERATIONS or filled >= self._ids_max // GENERATIONS
        ):
            self._sort()
            self._full.append((self._last_ms, self._sorted))
            self._sorted = _EMPTY
            while len(self._full) > 1 and sum(len(each) for _, each in self._full) > self._ids_max:
                self._full.popleft()
            filled = 0
        if not filled:
            self._begun_ms = now_ms
        self._last_ms = now_ms
        self._recent.update(digests)
        if len(self._recent) >= RECENT_MAX:
            self._sort()

    def _sort(self) -> None:
        self._sorted = array("Q", sorted([*self._sorted, *self._recent]))
        self._recent.clear()

    def _forget(self, now_ms: int) -> None:
        """Drop generations that are too old, that which is filled too."""
        oldest_ms = now_ms - self._keep_ms
        while self._full and self._full[0][0] < oldest_ms:
            self._full.popleft()
        if self._last_ms < oldest_ms:
            self._recent.clear()
            self._sorted = _EMPTY


def _holds(digests: array[int], digest: int) -> bool:
    place = bisect_left(digests, digest)
    return place < len(digests) and digests[place] == digest
