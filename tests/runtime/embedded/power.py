"""A disk that forgets what was not fsynced: an apsw VFS under the log, for tests of power loss.

Writes are seen at once and kept apart until an fsync of their file. A file's name is kept apart likewise, until an fsync
of its folder, and the folder's until one of the folder above: a file that was fsynced but not entered anywhere is gone.
`after_power_loss` is what a machine finds when it starts again: all that was fsynced, and any part of the rest, or
nothing of it, since a disk may have written some of it in any order.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any, cast

import apsw

_Write = tuple[int, bytes | None]
"""Offset and data; None truncates there."""


def _apply(content: bytearray, writes: list[_Write]) -> bytearray:
    for offset, data in writes:
        if data is None:
            del content[offset:]
            continue
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
    return content


class Disk(apsw.VFS):
    """A VFS of files in memory, known by their last name. `honest=False` makes fsync a no-op.

    Without a `folder` every name is durable at once.
    """

    def __init__(self, name: str, content: dict[str, bytes] | None = None, *, folder: Path | None = None) -> None:
        super().__init__(name, base="")
        self.name = name
        self.honest = True
        self._folder = folder
        self._folder_entered = folder is None
        self._entered = set(content or {})
        self._lock = threading.Lock()
        self._durable = dict(content or {})
        self._pending: dict[str, list[_Write]] = {}
        self._seen = {name: bytearray(content) for name, content in self._durable.items()}

    def after_power_loss(self, chance: random.Random, share: float) -> dict[str, bytes]:
        """What is left of the files if the power fails now and about `share` of what was not fsynced was written."""
        with self._lock:
            left: dict[str, bytes] = {}
            if not self._folder_entered:
                return left
            for name in self._seen if self._folder is None else self._entered:
                written = [write for write in self._pending.get(name, []) if chance.random() < share]
                left[name] = bytes(_apply(bytearray(self._durable.get(name, b"")), written))
            return left

    def folder_synced(self, path: Path) -> None:
        """Names in `path` that were made so far become durable."""
        with self._lock:
            if self.honest and path == self._folder:
                self._entered.update(self._seen)
            elif self.honest and self._folder is not None and path == self._folder.parent:
                self._folder_entered = True

    def write(self, name: str, write: _Write) -> None:
        """A write or a truncation that is not durable yet."""
        with self._lock:
            _apply(self._seen.setdefault(name, bytearray()), [write])
            self._pending.setdefault(name, []).append(write)

    def sync(self, name: str) -> None:
        """All writes of a file so far become durable."""
        with self._lock:
            if self.honest:
                self._durable[name] = bytes(self._seen[name])
                self._pending.pop(name, None)

    def content(self, name: str) -> bytearray:
        """What the process sees."""
        return self._seen[name]

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else str(name)).name
        with self._lock:
            self._seen.setdefault(path, bytearray())
        flags[1] = flags[0]
        return cast("apsw.VFSFile", _File(self, path))

    def xAccess(self, pathname: str, flags: int) -> bool:
        return Path(pathname).name in self._seen

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self._lock:
            for files in (self._seen, self._durable, self._pending):
                files.pop(Path(filename).name, None)
            self._entered.discard(Path(filename).name)

    def xFullPathname(self, name: str) -> str:
        return name


class _File:
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._disk.content(self._name)[offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.write(self._name, (offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.write(self._name, (newsize, None))

    def xSync(self, flags: int) -> None:
        self._disk.sync(self._name)

    def xFileSize(self) -> int:
        return len(self._disk.content(self._name))

    def xLock(self, level: int) -> None:
        """The folder's own lock keeps others out."""

    def xUnlock(self, level: int) -> None:
        """See xLock."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # as SQLite takes for granted of a disk

    def xClose(self) -> None:
        """What was written stays as it is: closing a file syncs nothing."""


class Machine:
    """Disks that hear of the folders that are fsynced, beside what goes through them: `fsync` is to stand for `os.fsync`.

    SQLite's own VFS syncs the folder when it makes a write-ahead log, but promises that nowhere, so it is not modelled.
    """

    def __init__(self) -> None:
        self._disks: list[Disk] = []
        self._fsync = os.fsync

    def disk(self, name: str, folder: Path) -> Disk:
        """A new disk with the log of `folder`, which is not there yet."""
        disk = Disk(name, folder=folder)
        self._disks.append(disk)
        return disk

    def fsync(self, descriptor: int) -> None:
        """As `os.fsync`."""
        self._fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        for disk in self._disks:
            disk.folder_synced(path)
