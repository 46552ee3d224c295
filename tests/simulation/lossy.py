"""A disk that loses power: everything that was not synced is gone, or half of it. For the volume's tests."""

from __future__ import annotations

import errno
import random
from pathlib import Path


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = b""
        self.name_synced = False
        self.locked = False


class LossyFile:
    def __init__(self, disk: LossyDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        return len(self._inode.content)

    def append(self, data: bytes) -> None:
        room = self._disk.room_bytes
        if room is not None and len(data) > room:
            self._inode.content += data[:room]
            self._disk.room_bytes = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        if room is not None:
            self._disk.room_bytes = room - len(data)
        self._inode.content += data

    def write_at(self, position: int, data: bytes) -> None:
        self._inode.content[position : position + len(data)] = data

    def read_at(self, position: int, size: int) -> bytes:
        self._disk.read_bytes += min(size, max(self.size() - position, 0))
        return bytes(self._inode.content[position : position + size])

    def truncate(self, size: int) -> None:
        del self._inode.content[size:]

    def fdatasync(self) -> None:
        self._disk.syncs += 1
        if self._disk.sync_error is not None:
            raise self._disk.sync_error
        if self._disk.honest:
            self._inode.synced = bytes(self._inode.content)

    def close(self) -> None:
        self._inode.locked = False


class LossyDisk:
    """A file system in memory. `lose_power` forgets what was not synced; with `honest=False` a sync does nothing."""

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest
        self.syncs = 0
        self.read_bytes = 0
        self.sync_error: OSError | None = None
        self.room_bytes: int | None = None
        self._inodes: dict[Path, _Inode] = {}

    def make_folder(self, path: Path) -> None:
        """Folders need no entry here."""

    def names(self, path: Path) -> list[str]:
        return sorted(each.name for each in self._inodes if each.parent == path)

    def open(self, path: Path, *, create: bool = False) -> LossyFile:
        if path not in self._inodes:
            if not create:
                raise FileNotFoundError(path)
            self._inodes[path] = _Inode()
        return LossyFile(self, self._inodes[path])

    def sync_folder(self, path: Path) -> None:
        for each, inode in self._inodes.items():
            if each.parent == path and self.honest:
                inode.name_synced = True

    def lock(self, path: Path) -> LossyFile:
        file = self.open(path, create=True)
        if self._inodes[path].locked:
            raise BlockingIOError
        self._inodes[path].locked = True
        return file

    def lose_power(self, rng: random.Random) -> None:
        """Keep what was synced; of what was appended since, keep a random beginning."""
        for path, inode in list(self._inodes.items()):
            inode.locked = False
            if not inode.name_synced:
                del self._inodes[path]
                continue
            torn = bytes(inode.content[len(inode.synced) :])
            kept = torn[: rng.randrange(len(torn) + 1)] if inode.content.startswith(inode.synced) else b""
            inode.content = bytearray(inode.synced + kept)

    def end_process(self) -> None:
        """Locks end with whoever held them; what was written stays readable."""
        for inode in self._inodes.values():
            inode.locked = False

    def damage(self, path: Path, position: int) -> None:
        """Flip a bit of what lies on the disk."""
        inode = self._inodes[path]
        inode.content[position] ^= 0x10
        if position < len(inode.synced):
            synced = bytearray(inode.synced)
            synced[position] = inode.content[position]
            inode.synced = bytes(synced)

    def cut(self, path: Path, size: int) -> None:
        """Lose the end of a file that lies on the disk."""
        del self._inodes[path].content[size:]

    def remove(self, path: Path) -> None:
        """Lose a file."""
        del self._inodes[path]

    def write(self, path: Path, content: bytes) -> None:
        """Have a file that lies on the disk."""
        inode = self._inodes[path] = _Inode()
        inode.content, inode.synced, inode.name_synced = bytearray(content), content, True

    def size(self, path: Path) -> int:
        return len(self._inodes[path].content)

    def segments(self) -> list[Path]:
        return sorted(path for path in self._inodes if path.suffix == ".seg")
