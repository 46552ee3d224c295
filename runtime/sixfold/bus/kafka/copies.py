"""Copies of changelogs on this machine's disk, in one SQLite file for each member of a group that runs here.

The changelog is the truth and the file may be lost at any time, so nothing of it is synced to disk, and what is stored in
quick succession is committed together: a member that is killed loses the last moment of it. It is kept when its member
ends: the next one reads only what was added since. `TABLES/<group>.<n>.sqlite` belongs to the process that has it
locked; whoever comes takes the lowest that is free, so a restart finds its own again.

Rows are appended in the order in which they come, and an index tells where they are: a restore then writes each page
once, and takes a fifth of what a table clustered by key takes.

A file is used again only on the boot of the machine that wrote it: after a power loss it could hold anything.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import apsw

from sixfold import clock as clocks
from sixfold.bus import port

FOLDER = "tables"
"""In the data folder."""
CACHE_KIB = 32 * 1024
"""Memory for pages of one file, however large the tables are."""
WAL_PAGES = 8_000
"""32 MiB: while a table is restored in the order of its log, each page is written to several times before it moves."""
COMMIT_S = 1.0
"""A commit writes each page that was touched: it is due this long after the last one, when more is stored."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FORMAT = "1"
_SCHEMA = """
CREATE TABLE meta(written_by TEXT NOT NULL) STRICT;
CREATE TABLE copies(
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, partition INTEGER NOT NULL, topic_id BLOB,
    next_offset INTEGER NOT NULL, synced_ms INTEGER NOT NULL, UNIQUE(topic, partition)) STRICT;
CREATE TABLE dropped(id INTEGER PRIMARY KEY) STRICT;
CREATE TABLE reflected(
    copy INTEGER NOT NULL, topic TEXT NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY(copy, topic)) STRICT, WITHOUT ROWID;
CREATE TABLE rows(
    copy INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, UNIQUE(copy, key)) STRICT;
"""


class Copy(NamedTuple):
    """A partition of a changelog as the file has it."""

    topic_id: bytes | None
    next_offset: int
    """The next changelog offset after those that it holds."""
    synced_ms: int
    """When it was last known to hold all up to there, in Unix milliseconds."""


class Copies:
    """One member's file. Its calls take microseconds a row, so they need no thread of their own."""

    def __init__(self, data_dir: Path, group_prefix: str, clock: clocks.Clock) -> None:
        self._clock = clock
        self._folder = data_dir / FOLDER
        self._prefix = group_prefix
        self._path = self._folder
        self._open: apsw.Connection | None = None
        self._reading: apsw.Cursor | None = None
        """Made once: every row that is not in memory is read by it."""
        self._numbers: dict[tuple[str, int], int] = {}
        self._committed_s = -math.inf
        self.losses = 0
        """How often what was stored last was lost again, as the disk did not take it: then nothing read before is sure."""

    def close(self) -> None:
        """Let go of the file; another member may take it up."""
        connection, self._open, self._reading = self._open, None, None
        self._numbers.clear()
        if connection is not None:
            with contextlib.suppress(apsw.Error):  # the next one reads it again
                if connection.in_transaction:
                    connection.execute("COMMIT")
            connection.close()

    def find(self, topic: str, partition: int) -> Copy | None:
        """What the file has of a partition."""
        with self._failing():
            found = self._connection.execute(
                "SELECT topic_id, next_offset, synced_ms FROM copies WHERE topic = ? AND partition = ?",
                (topic, partition),
            ).fetchone()
            return None if found is None else Copy(*found)

    def drop(self, topic: str, partition: int) -> None:
        """Forget what the file has of a partition; `sweep` deletes its rows."""
        with self._writing() as connection:
            self._numbers.pop((topic, partition), None)
            connection.execute(
                "INSERT INTO dropped SELECT id FROM copies WHERE topic = ?1 AND partition = ?2", (topic, partition)
            )
            connection.execute("DELETE FROM copies WHERE topic = ? AND partition = ?", (topic, partition))

    def store(
        self,
        topic: str,
        partition: int,
        copy: Copy,
        rows: Iterable[tuple[bytes, bytes | None]],
        reflected: Mapping[str, int],
    ) -> None:
        """Take in rows (None deletes) and what they reflect; the copy is as `copy` says then.

        Raises BusUnavailableError where the disk does not take it; then earlier ones may be lost, too (`losses`).
        """
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO copies(topic, partition, topic_id, next_offset, synced_ms) VALUES(?,?,?,?,?)"
                " ON CONFLICT DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset,"
                " synced_ms = excluded.synced_ms",
                (topic, partition, *copy),
            )
            number = self._number(topic, partition)
            newest = sorted(dict(rows).items())  # neighbours go into the same page
            put = [(number, key, value) for key, value in newest if value is not None]
            connection.executemany(
                "INSERT INTO rows VALUES(?,?,?) ON CONFLICT DO UPDATE SET value = excluded.value", put
            )
            gone = [(number, key) for key, value in newest if value is None]
            connection.executemany("DELETE FROM rows WHERE copy = ? AND key = ?", gone)
            connection.executemany(
                "INSERT INTO reflected VALUES(?,?,?) ON CONFLICT DO UPDATE SET offset = max(offset, excluded.offset)",
                [(number, name, offset) for name, offset in reflected.items()],
            )

    def get(self, topic: str, partition: int, key: bytes) -> bytes | None:
        """A row."""
        number = self._number(topic, partition)
        try:
            if self._reading is None:
                self._reading = self._connection.cursor()
            found = self._reading.execute("SELECT value FROM rows WHERE copy = ? AND key = ?", (number, key))
            return found.get  # type: ignore[no-any-return]  # None or bytes
        except apsw.Error as error:
            raise self._unavailable(error) from error

    def page(self, topic: str, partition: int, after: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """At most `count` rows in key order, those with keys above `after`."""
        with self._failing():
            beyond = "" if after is None else "AND key > ?3"  # a condition that is not there lets the index be used
            found = self._connection.execute(
                f"SELECT key, value FROM rows WHERE copy = ?1 {beyond} ORDER BY key LIMIT ?2",  # noqa: S608 - constants
                (self._number(topic, partition), count, *(() if after is None else (after,))),
            )
            return cast("list[tuple[bytes, bytes]]", found.fetchall())

    def reflected(self, topic: str, partition: int) -> dict[str, int]:
        """The next input offset by input topic, after those that the rows reflect."""
        with self._failing():
            return dict(
                self._connection.execute(
                    "SELECT topic, offset FROM reflected WHERE copy = ?", (self._number(topic, partition),)
                )
            )

    def sweep(self, count: int) -> bool:
        """Delete at most `count` rows of copies that were dropped; true where there may be more."""
        with self._writing() as connection:
            execute = connection.execute
            number = execute("SELECT id FROM dropped LIMIT 1").get
            if number is None:
                return False
            execute(
                "DELETE FROM rows WHERE copy = ?1 AND key IN (SELECT key FROM rows WHERE copy = ?1 LIMIT ?2)",
                (number, count),
            )
            if not connection.changes():
                execute("DELETE FROM reflected WHERE copy = ?", (number,))
                execute("DELETE FROM dropped WHERE id = ?", (number,))
        return True

    def _number(self, topic: str, partition: int) -> int | None:
        number = self._numbers.get((topic, partition))
        if number is None:
            with self._failing():
                number = self._connection.execute(
                    "SELECT id FROM copies WHERE topic = ? AND partition = ?", (topic, partition)
                ).get
            if number is not None:
                self._numbers[topic, partition] = number
        return number

    @property
    def _connection(self) -> apsw.Connection:
        if self._open is None:
            self._open = self._take_one()
        return self._open

    def _take_one(self) -> apsw.Connection:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            written_by = f"{_FORMAT} {_BOOT.read_text().strip() if _BOOT.exists() else uuid.uuid4()}"
            number = 0
            while (taken := _open(self._file(number), written_by)) is None:
                number += 1
        except OSError as error:
            raise port.BusUnavailableError(
                f"the copies of tables in {self._folder} cannot be used: {error.strerror}; check its path and permissions"
            ) from error
        self._path = self._file(number)
        return taken

    def _file(self, number: int) -> Path:
        return self._folder / f"{self._prefix}{number}.sqlite"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """A change to the file. All or nothing of it is taken; where nothing is, what was not committed yet is lost."""
        with self._failing():
            connection = self._connection
            try:
                if not connection.in_transaction:
                    connection.execute("BEGIN IMMEDIATE")
                yield connection
                now_s = self._clock.monotonic()
                if now_s - self._committed_s >= COMMIT_S:
                    connection.execute("COMMIT")
                    self._committed_s = now_s
            except BaseException:
                self.losses += 1
                self._numbers.clear()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: apsw.Error) -> port.BusUnavailableError:
        return port.BusUnavailableError(
            f"the copy of tables {self._path} cannot be used: {error}. Make room where the disk is full; else stop the "
            "process and delete the file, the tables are restored from the cluster"
        )


def _open(path: Path, written_by: str) -> apsw.Connection | None:
    """The file, empty where it is not one that `written_by` left; None where another member has it."""
    while True:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path))
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF")
            connection.pragma("journal_mode", "WAL")
            connection.pragma("cache_size", -CACHE_KIB)
            connection.pragma("wal_autocheckpoint", WAL_PAGES)
            connection.execute("BEGIN IMMEDIATE; COMMIT")  # takes the lock, and keeps it
            if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
                with connection:
                    connection.execute(_SCHEMA)
                    connection.execute("INSERT INTO meta VALUES(?)", (written_by,))
            if connection.execute("SELECT written_by FROM meta").get == written_by:
                return connection
        except (apsw.BusyError, apsw.LockedError):
            connection.close()
            return None
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError):
            pass
        connection.close()
        for suffix in ("", "-wal", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
