"""Compaction: of each key the newest record stays, at its offset; a tombstone goes after its delay.

As Kafka's cleaner: the part of the log that is not compacted yet gives the newest offset of each key in it, then the
whole log is rewritten up to there, a stretch at a time, so no commit waits long. Every stretch may be interrupted: a
record only goes when a newer one of its key is stored for good. The last record of a partition always stays, so a
reader that has caught up is at the partition's end.
"""

from __future__ import annotations

import msgspec

from sixfold.bus.embedded import store as store_

STEP_BYTES = 512 * 1024
"""Read and rewritten at once; some milliseconds' work."""

_Entry = tuple[bytes | None, msgspec.Raw, int, msgspec.Raw]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[int] | None, list[_Entry]])
_NIL = b"\xc0"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A batch to be compacted."""

    base: int
    last: int
    timestamp_seen: int
    bytes_total: int
    payload: bytes


class Compaction:
    """One pass over one partition. Call `step` until it returns false."""

    def __init__(self, store: store_.Store, partition: int, *, now_ms: int, tombstone_ms: int, batch_bytes_max: int):
        log = store.logs[partition]
        self._store = store
        self.partition = partition
        self._end = log.end
        self._newest: dict[bytes, int] = {}
        self._mapped = max(log.clean, log.start)
        self._rewritten = log.start
        self._tombstones_until_ms = now_ms - tombstone_ms
        self._batch_bytes_max = batch_bytes_max
        self.bytes_left = 0
        """Of the compacted part, as rewritten so far."""

    def step(self) -> bool:
        """Do a stretch of the work, in a transaction of its own where it writes; true where more is left."""
        if self.partition not in self._store.logs:
            return False  # its topic was deleted meanwhile
        if self._mapped < self._end:
            rows = self._read(self._mapped)
            for row in rows:
                for offset, (key, _, _, _) in _entries(row):
                    if key is not None:
                        self._newest[key] = offset
            self._mapped = rows[-1].last + 1 if rows else self._end
            return True
        if self._rewritten < self._end:
            rows = self._read(self._rewritten)
            self._rewrite(rows)
            self._rewritten = rows[-1].last + 1 if rows else self._end
            return True
        with self._store.transaction():
            self._store.cleaned(self.partition, self._end)
        return False

    def _read(self, offset: int) -> list[Row]:
        first, _ = store_.bounds(self.partition)
        rows: list[Row] = []
        budget = STEP_BYTES
        for place, last, seen, total, payload in self._store.execute(
            "SELECT position, last_offset, timestamp_seen, bytes_total, payload FROM batches"
            " WHERE position >= ? AND position < ? ORDER BY position",
            (first + offset, first + self._end),
        ):
            rows.append(Row(place - first, last, seen, total, payload))
            budget -= len(payload)
            if budget <= 0:
                break
        return rows

    def _stays(self, offset: int, entry: _Entry) -> bool:
        key, value, timestamp_ms, _ = entry
        if key is None or offset == self._end - 1:
            return True
        if self._newest.get(key, -1) > offset:
            return False
        return bytes(value) != _NIL or timestamp_ms > self._tombstones_until_ms

    def _rewrite(self, rows: list[Row]) -> None:
        kept: list[tuple[int, _Entry, Row]] = []
        read = 0
        for row in rows:
            for offset, entry in _entries(row):
                read += 1
                if self._stays(offset, entry):
                    kept.append((offset, entry, row))
        rewritten = list(self._pack(kept))
        self.bytes_left += sum(len(row.payload) for row in rewritten)
        if len(kept) == read and len(rewritten) >= len(rows):
            return  # nothing to win
        with self._store.transaction():
            first, _ = store_.bounds(self.partition)
            self._store.execute(
                "DELETE FROM batches WHERE position BETWEEN ? AND ?", (first + rows[0].base, first + rows[-1].base)
            )
            for row in rewritten:
                self._insert(row)

    def _pack(self, kept: list[tuple[int, _Entry, Row]]) -> list[Row]:
        packed: list[Row] = []
        stretch: list[tuple[int, _Entry, Row]] = []
        size = 0
        for one in kept:
            key, value, _, headers = one[1]
            length = len(key or b"") + len(bytes(value)) + len(bytes(headers))
            if stretch and size + length > self._batch_bytes_max:
                packed.append(_row(stretch))
                stretch, size = [], 0
            stretch.append(one)
            size += length
        if stretch:
            packed.append(_row(stretch))
        return packed

    def _insert(self, row: Row) -> None:
        self._store.execute(
            "INSERT INTO batches VALUES(?,?,?,?,?,?,0,0,0,?)",
            (
                store_.position(self.partition, row.base),
                row.last,
                max(timestamp_ms for _, (_, _, timestamp_ms, _) in _entries(row)),
                row.timestamp_seen,
                len(row.payload),
                row.bytes_total,
                row.payload,
            ),
        )


def _row(stretch: list[tuple[int, _Entry, Row]]) -> Row:
    base, last, source = stretch[0][0], stretch[-1][0], stretch[-1][2]
    payload = _encoder.encode(([offset - base for offset, _, _ in stretch], [entry for _, entry, _ in stretch]))
    return Row(base, last, source.timestamp_seen, source.bytes_total, payload)


def _entries(row: Row) -> list[tuple[int, _Entry]]:
    distances, entries = _decoder.decode(row.payload)
    if distances is None:
        return list(enumerate(entries, row.base))
    return list(zip((row.base + distance for distance in distances), entries, strict=True))
