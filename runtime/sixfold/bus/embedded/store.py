"""The log's contents: partitions, batches, committed offsets and state, over one SQLite connection.

Used by the owner's thread alone. Every change happens inside `transaction`; what is kept in memory beside the file
(each partition's range and totals) is taken back when the transaction fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import batches, schema, wire
from sixfold.bus.embedded import settings as settings_

RETRY_SLACK_MS = 60_000
"""How far the machine's clock may have jumped between the first sending of a request and its retry."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """What decides whether a batch is dropped."""

    last_offset: int
    timestamp_max: int
    bytes_total: int
    """Bytes ever appended up to its end."""


class Log(msgspec.Struct, array_like=True, gc=False):
    """One partition as it stands."""

    id: int
    topic: str
    number: int
    start: int
    end: int
    bytes_total: int
    """Bytes ever appended."""
    timestamp_seen: int
    """Newest timestamp ever appended."""
    clean: int
    """Compacted below this offset."""
    dirty_since_ms: int = 0
    """When the oldest record that is not yet compacted was stored; 0 is none, or not since this owner began."""
    head: Head | None = None
    """The first batch; None is not looked up yet."""


class Store:
    """An open log."""

    def __init__(self, folder: Path, settings: settings_.Settings, clock: clocks.Clock) -> None:
        """Open it. Raises BusError for a file that is not a sound log."""
        self.path = folder / schema.FILE_NAME
        self.settings = settings
        self._clock = clock
        self.connection = schema.open_log(folder, settings)
        self.execute = self.connection.execute
        self.logs: dict[int, Log] = {}
        self._undo: dict[int, Log] = {}
        self._wal_pages = 0
        self.connection.set_wal_hook(self._wal_grew)
        try:
            self._load()
        except apsw.Error as error:
            self.connection.close()
            raise port.BusError(f"{self.path} is damaged: {error}. Restore it from a copy") from error

    def _load(self) -> None:
        rows = self.execute(
            "SELECT p.id, t.name, p.number, p.start_offset, p.next_offset, p.bytes_total, p.timestamp_seen,"
            " p.clean_offset FROM partitions p JOIN topics t ON p.topic = t.id"
        ).fetchall()
        for row in rows:
            self.load_log(msgspec.convert(row, Log))

    def load_log(self, log: Log) -> None:
        """Take up a partition, with its range as its newest batch tells it."""
        for last, total, seen in self.execute(
            "SELECT last_offset, bytes_total, timestamp_seen FROM batches WHERE position BETWEEN ? AND ?"
            " ORDER BY position DESC LIMIT 1",
            bounds(log.id),
        ):
            if last >= log.end:
                log.end, log.bytes_total, log.timestamp_seen = last + 1, total, seen
        self.logs[log.id] = log

    def _wal_grew(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._wal_pages = pages
        return 0

    @property
    def checkpoint_due(self) -> bool:
        """True when the write-ahead log is long enough to be moved into the file."""
        return self._wal_pages >= self.settings.checkpoint_pages

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file. A full disk leaves it where it is, to be tried again later."""
        self._wal_pages = 0
        with contextlib.suppress(apsw.FullError):
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at the end."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.execute("ROLLBACK")
            self.logs.update((number, log) for number, log in self._undo.items() if number in self.logs)
            self._undo.clear()
            raise
        self._undo.clear()

    def change(self, partition: int) -> Log:
        """The partition, to be changed inside a transaction."""
        log = self.logs[partition]
        if partition not in self._undo:
            self._undo[partition] = msgspec.structs.replace(log)
        return log

    def append(self, batch: wire.Batch, producer: int, sequence: int) -> int:
        """Append a batch; its base offset."""
        log = self.change(batch.partition)
        base = log.end
        if base + batch.count > schema.OFFSET_MAX:
            raise port.BusError(f"{log.topic}:{log.number} has used up its offsets; move on to a new topic")
        size = len(batch.payload)
        now_ms = clocks.now_ms(self._clock)
        log.end += batch.count
        log.bytes_total += size
        log.timestamp_seen = max(log.timestamp_seen, batch.timestamp_max_ms)
        log.dirty_since_ms = log.dirty_since_ms or now_ms
        self.execute(
            "INSERT INTO batches VALUES(?,?,?,?,?,?,?,?,?,?)",
            (
                position(batch.partition, base),
                log.end - 1,
                batch.timestamp_max_ms,
                log.timestamp_seen,
                size,
                log.bytes_total,
                producer,
                sequence,
                now_ms,
                batch.payload,
            ),
        )
        return base

    def find(self, partition: int, producer: int, sequence: int, count: int, since_ms: int) -> int | None:
        """Base offset of what `producer` stored as `sequence`, looked for among what was stored since `since_ms`.

        A request may hold several batches of one partition; `count` tells how many of them lie before the wanted one.
        """
        found = []
        first, last = bounds(partition)
        for place, producer_found, sequence_found, stored_ms in self.execute(
            "SELECT position, producer, sequence, stored_ms FROM batches WHERE position BETWEEN ? AND ?"
            " ORDER BY position DESC",
            (first, last),
        ):
            if stored_ms < since_ms - RETRY_SLACK_MS:
                break
            if producer_found == producer:
                if sequence_found == sequence:
                    found.append(place - first)
                elif sequence_found < sequence:
                    break
        return found[-1 - count] if count < len(found) else None

    def read(self, partition: int, offset: int, bytes_max: int) -> list[wire.Stored]:
        """Batches from the one that holds `offset` on, at least one where there is any, up to about `bytes_max`."""
        first, last = bounds(partition)
        start = first + min(max(offset, 0), schema.OFFSET_MAX)
        found = []
        for place, last_offset, payload in self.execute(
            "SELECT position, last_offset, payload FROM batches WHERE position BETWEEN"
            " coalesce((SELECT max(position) FROM batches WHERE position BETWEEN ?1 AND ?2), ?2) AND ?3"
            " ORDER BY position",
            (first, start, last),
        ):
            if last_offset < offset:
                continue
            found.append(wire.Stored(partition, place - first, last_offset, payload))
            bytes_max -= len(payload)
            if bytes_max <= 0:
                break
        return found

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        """Offset of the first record stamped `timestamp_ms` or later, the end where there is none."""
        log = self.logs[partition]
        first, last = bounds(partition)
        low, high = log.start, log.end
        while low < high:  # the first batch whose running maximum reaches the timestamp
            middle = (low + high) // 2
            row = self.execute(
                "SELECT timestamp_seen, last_offset FROM batches WHERE position BETWEEN ? AND ?"
                " ORDER BY position LIMIT 1",
                (first + middle, last),
            ).fetchone()
            if row is None or row[0] >= timestamp_ms:
                high = middle
            else:
                low = row[1] + 1
        begin = self._batch_start(partition, low)
        for place, payload in self.execute(
            "SELECT position, payload FROM batches WHERE position BETWEEN ? AND ? AND timestamp_max >= ?"
            " ORDER BY position",
            (begin, last, timestamp_ms),
        ):
            for offset, entry in batches.entries(payload, place - first):
                if entry[2] >= timestamp_ms and offset >= log.start:
                    return offset
        return log.end

    def _batch_start(self, partition: int, offset: int) -> int:
        first, _ = bounds(partition)
        found = self.execute(
            "SELECT max(position) FROM batches WHERE position BETWEEN ? AND ?", (first, first + offset)
        ).get
        return first + offset if found is None else int(found)

    def heads(self, partition: int, offset: int) -> Iterator[Head]:
        """The batches from `offset` on, without their records."""
        first, last = bounds(partition)
        for last_offset, timestamp_max, bytes_total in self.execute(
            "SELECT last_offset, timestamp_max, bytes_total FROM batches WHERE position BETWEEN ? AND ?"
            " ORDER BY position",
            (first + offset, last),
        ):
            yield Head(last_offset, timestamp_max, bytes_total)

    def truncate(self, partition: int, start: int) -> None:
        """Drop all batches before `start`, where a batch begins. Inside a transaction."""
        log = self.change(partition)
        log.start, log.head = start, None
        first, _ = bounds(partition)
        self.execute("DELETE FROM batches WHERE position >= ? AND position < ?", (first, first + start))
        self.execute(
            "UPDATE partitions SET start_offset = ?, next_offset = ?, bytes_total = ?, timestamp_seen = ? WHERE id = ?",
            (log.start, log.end, log.bytes_total, log.timestamp_seen, partition),
        )

    def cleaned(self, partition: int, end: int) -> None:
        """Note that everything before `end` is compacted. Inside a transaction."""
        log = self.change(partition)
        log.clean, log.dirty_since_ms = end, 0
        self.execute("UPDATE partitions SET clean_offset = ? WHERE id = ?", (end, partition))

    def bytes_between(self, partition: int, start: int, end: int) -> int:
        """Bytes of the batches from `start` to before `end`."""
        first, _ = bounds(partition)
        where = (first + start, first + end)
        return int(self.execute("SELECT total(bytes) FROM batches WHERE position >= ? AND position < ?", where).get)


def position(partition: int, offset: int) -> int:
    """Row id of a batch."""
    return partition << schema.OFFSET_BITS | offset


def bounds(partition: int) -> tuple[int, int]:
    """First and last row id of a partition's batches."""
    return position(partition, 0), position(partition, schema.OFFSET_MAX)
