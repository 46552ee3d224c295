"""A disk that loses power: everything that was not synced is gone, or half of it. For the volume's tests."""

from __future__ import annotations

import errno
import random
from pathlib import Path


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = b""
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
        self._kept: dict[Path, _Inode] = {}
        """Names that survive a loss of power."""
        self._changes: list[dict[Path, _Inode | None]] = []
        """What happened to names since, in order; each is kept or lost as a whole, and none without those before it."""

    def make_folder(self, path: Path) -> None:
        """Folders need no entry here."""

    def names(self, path: Path) -> list[str]:
        return sorted(each.name for each in self._inodes if each.parent == path)

    def open(self, path: Path, *, create: bool = False) -> LossyFile:
        if path not in self._inodes:
            if not create:
                raise FileNotFoundError(path)
            self._change({path: _Inode()})
        return LossyFile(self, self._inodes[path])

    def rename(self, path: Path, target: Path) -> None:
        self._change({path: None, target: self._inodes[path]})

    def remove(self, path: Path) -> None:
        if path not in self._inodes:
            raise FileNotFoundError(path)
        self._change({path: None})

    def _change(self, change: dict[Path, _Inode | None]) -> None:
        self._changes.append(change)
        _apply(change, self._inodes)

    def sync_folder(self, path: Path) -> None:
        if self.honest:
            for change in self._changes:
                _apply(change, self._kept)
            self._changes.clear()

    def lock(self, path: Path) -> LossyFile:
        file = self.open(path, create=True)
        if self._inodes[path].locked:
            raise BlockingIOError
        self._inodes[path].locked = True
        return file

    def lose_power(self, rng: random.Random) -> None:
        """Keep what was synced; of what was appended, created, renamed and removed since, keep a random beginning."""
        for change in self._changes[: rng.randrange(len(self._changes) + 1) if self.honest else 0]:
            _apply(change, self._kept)
        self._changes.clear()
        self._inodes = dict(self._kept)
        for inode in self._inodes.values():
            inode.locked = False
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

    def lose(self, path: Path) -> None:
        """Lose a file for good."""
        self.remove(path)
        self.sync_folder(path.parent)

    def write(self, path: Path, content: bytes) -> None:
        """Have a file that lies on the disk."""
        inode = self._inodes[path] = self._kept[path] = _Inode()
        inode.content, inode.synced = bytearray(content), content

    def size(self, path: Path) -> int:
        return len(self._inodes[path].content)

    def segments(self) -> list[Path]:
        return sorted(path for path in self._inodes if path.suffix == ".seg")


def _apply(change: dict[Path, _Inode | None], names: dict[Path, _Inode]) -> None:
    for path, inode in change.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode
