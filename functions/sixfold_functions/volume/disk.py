"""The file operations of a segment log, as a port: production uses the machine's files, tests a disk that loses power.

What is written is not kept until `fdatasync` returned; a file that was created is not kept until its folder was
synced. Every operation raises OSError; after one of them failed nobody may go on writing (a failed fsync marks pages
clean: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file."""

    def size(self) -> int: ...

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end; after an error a part of it may be there."""

    def write_at(self, position: int, data: bytes) -> None: ...

    def read_at(self, position: int, size: int) -> bytes: ...

    def truncate(self, size: int) -> None: ...

    def fdatasync(self) -> None:
        """Return once all that was written to this file survives a loss of power."""

    def close(self) -> None: ...


class Disk(Protocol):
    """A file system."""

    def make_folder(self, path: Path) -> None:
        """Create `path` and its parents, durably."""

    def names(self, path: Path) -> list[str]:
        """Files in a folder, sorted."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing; with `create` the file may be new (its name is not kept until the sync)."""

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name in its folder, in place of the file that had it; not kept until the folder's sync."""

    def remove(self, path: Path) -> None:
        """Take a file's name away; not kept until the folder's sync."""

    def sync_folder(self, path: Path) -> None:
        """Return once the names in `path` survive a loss of power."""

    def lock(self, path: Path) -> File:
        """Take a lock that ends with the process. Raises BlockingIOError where another process holds it."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = os.fstat(descriptor).st_size

    def size(self) -> int:
        return self._end

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, self._end)
            self._end += written
            view = view[written:]

    def write_at(self, position: int, data: bytes) -> None:
        os.pwrite(self._descriptor, data, position)
        self._end = max(self._end, position + len(data))

    def read_at(self, position: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, min(size, 1 << 24), position)):
            parts.append(part)
            position += len(part)
            size -= len(part)
        return b"".join(parts)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._end = size

    def fdatasync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class OsDisk:
    """The machine's own file system."""

    def make_folder(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in missing:
            self.sync_folder(each.parent)

    def names(self, path: Path) -> list[str]:
        return sorted(os.listdir(path)) if path.exists() else []

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        return OsFile(os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600))

    def rename(self, path: Path, target: Path) -> None:
        path.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> OsFile:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return OsFile(descriptor)
