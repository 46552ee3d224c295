"""The log's SQLite file: its tables, and opening it so that what is acknowledged survives a power loss.

A batch's row id is `partition id << 40 | base offset`: one b-tree, clustered by partition and offset, serves appends
and reads without a second index. Running totals in each row (`bytes_total`, `timestamp_seen`) make a partition's size
and the search for a timestamp independent of its length.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw

from sixfold.bus import port
from sixfold.bus.embedded import settings as settings_

OFFSET_BITS = 40
"""Offsets to 10^12 (at 50,000 records a second 250 days in one partition), 8 million partitions."""
OFFSET_MAX = (1 << OFFSET_BITS) - 1
FILE_NAME = "log.sqlite"
SQLITE_VERSION_MIN = (3, 51, 3)
"""Earlier ones may lose a commit when the write-ahead log is reset (sqlite.org, 3.51.3 release notes)."""
_APPLICATION_ID = 0x36464F4C
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE topics(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, spec BLOB NOT NULL) STRICT;
CREATE TABLE partitions(
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL REFERENCES topics(id), number INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0, next_offset INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0, timestamp_seen INTEGER NOT NULL DEFAULT 0,
    clean_offset INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE batches(
    position INTEGER PRIMARY KEY, last_offset INTEGER NOT NULL, timestamp_max INTEGER NOT NULL,
    timestamp_seen INTEGER NOT NULL, bytes INTEGER NOT NULL, bytes_total INTEGER NOT NULL,
    producer INTEGER NOT NULL, sequence INTEGER NOT NULL, stored_ms INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE TABLE groups(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE offsets(
    grp INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    producer INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY(grp, partition)) STRICT, WITHOUT ROWID;
CREATE TABLE state(
    grp INTEGER NOT NULL, name TEXT NOT NULL, partition INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY(grp, name, partition, key)) STRICT, WITHOUT ROWID;
CREATE TABLE trash(partition INTEGER PRIMARY KEY) STRICT;
CREATE TABLE marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def open_log(folder: Path, settings: settings_.Settings) -> apsw.Connection:
    """The log of `folder`, made where there is none. Raises BusError for a file that is not a sound log of ours.

    The caller holds the folder's lock. The file is locked exclusively besides, so its index of the write-ahead log
    lives in our memory and no `-shm` file can be left behind.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < SQLITE_VERSION_MIN:
        raise port.BusError(
            f"SQLite {apsw.sqlite_lib_version()} is too old for the log: expected 3.51.3 or newer, as apsw bundles it; "
            "install apsw from its wheel"
        )
    path = folder / FILE_NAME
    if settings.vfs is None:
        _make_private(path)
    connection = None
    try:
        connection = apsw.Connection(str(path), vfs=settings.vfs)
        _prepare(connection, path, settings)
        _sync_folder(folder)
    except apsw.Error as error:
        if connection is not None:
            connection.close()
        if isinstance(error, apsw.FullError):
            raise port.StorageFullError(f"{path}: the disk is full; make room and try again") from error
        raise port.BusError(
            f"{path} cannot be opened as the bus's log: {error}. Restore it from a copy, or move it away to start empty"
        ) from error
    except port.BusError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _prepare(connection: apsw.Connection, path: Path, settings: settings_.Settings) -> None:
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    empty = not connection.execute("SELECT count(*) FROM sqlite_schema").get
    if not empty and application != _APPLICATION_ID:
        raise port.BusError(
            f"{path} is an SQLite file, but not a log of this bus (application id {application}, "
            f"expected {_APPLICATION_ID}); move it away or choose another data folder"
        )
    if not empty and version != _SCHEMA_VERSION:
        raise port.BusError(
            f"{path} has format {version}, this version reads {_SCHEMA_VERSION}; use the version that wrote it"
        )
    mode = connection.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise port.BusError(f"{path}: expected journal mode wal, got {mode}; the file system may not support it")
    connection.pragma("synchronous", settings.synchronous)
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("cache_size", -32 * 1024)
    if empty:
        with connection:
            connection.execute(_SCHEMA)
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", _SCHEMA_VERSION)
    # What an owner that failed left in the write-ahead log becomes part of the file, so nothing after it builds on it.
    # A full disk may have no room for that yet; the log is whole all the same.
    with contextlib.suppress(apsw.FullError):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _sync_folder(folder: Path) -> None:
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
