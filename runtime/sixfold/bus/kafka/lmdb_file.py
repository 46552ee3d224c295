"""The LMDB file of one member's copies, and the lock that makes it its own.

A file is used again only on the boot of the machine that wrote it: as nothing of it is synced to disk, it could hold
anything after a power loss.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from pathlib import Path
from typing import Any

import lmdb

from sixfold.bus.kafka import rows

_FORMAT = "2"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LmdbFile:
    """An LMDB and the lock that makes it ours, both open."""

    def __init__(self, path: Path, lock: int, number_bytes: int, bytes_max: int) -> None:
        """Takes over `lock`. Raises lmdb.Error where the file is no LMDB."""
        self._lock = lock
        # No memory that was used for other things goes to the disk (`meminit`), none is filled in advance.
        self.store = lmdb.open(
            str(path), map_size=bytes_max, subdir=False, lock=False, sync=False, metasync=False, readahead=False,
            max_dbs=4, mode=0o600,
        )  # fmt: skip
        try:
            info = self.store.info()
            if (info["last_pgno"] + 1) * self.store.stat()["psize"] > path.stat().st_size:
                raise lmdb.CorruptedError("the file was cut off")  # reading what is not there would kill the process
            self.copies = self.store.open_db(b"copies")
            self.dropped = self.store.open_db(b"dropped")
            self.reflected = self.store.open_db(b"reflected")
            self.rows = rows.Rows(self.store.open_db(b"rows"), number_bytes)
        except BaseException:
            self.store.close()
            raise
        self.transaction: Any
        """There is always one, for what is read, too."""
        self.reader: Any
        """A cursor of it over the rows."""
        self._begin()

    def _begin(self) -> None:
        self.transaction = self.store.begin(write=True)
        self.reader = self.rows.cursor(self.transaction)

    def commit(self) -> None:
        """Raises lmdb.Error where the disk does not take it; then it is as after the last one."""
        try:
            self.transaction.commit()
        finally:
            self._begin()

    def abort(self) -> None:
        """Back to the last commit."""
        self.transaction.abort()
        self._begin()

    def close(self) -> None:
        """Let go of it."""
        self.transaction.abort()
        self.store.close()
        os.close(self._lock)


def take(path: Path, number_bytes: int, bytes_max: int) -> LmdbFile | None:
    """The file, empty where it is not one that was left on this boot of the machine; None where another member has it.

    Rows of each copy begin with `number_bytes`. Raises OSError, and lmdb.Error where the disk does not take it.
    """
    written_by = f"{_FORMAT} {_BOOT.read_text().strip() if _BOOT.exists() else uuid.uuid4()}".encode()
    lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        if os.pread(lock, 1024, 0) != written_by:
            path.unlink(missing_ok=True)
            os.truncate(lock, 0)
            os.pwrite(lock, written_by, 0)
        try:
            return LmdbFile(path, lock, number_bytes, bytes_max)
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
            path.unlink()
            return LmdbFile(path, lock, number_bytes, bytes_max)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(lock)
        raise
