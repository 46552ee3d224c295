"""A disk that loses power: everything that was not synced is gone, or half of it. For the volume's tests."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        """What a process reads: the page cache."""
        self.synced = bytearray()
        """What lies on the disk."""
        self.dirty: list[tuple[int, int]] = []
        """Ranges that were written since, in order. After a failed sync they are clean, and not on the disk."""
        self.cut_at: int | None = None
        """Where the file was cut since."""
        self.locked = False

    def wrote(self, start: int, end: int) -> None:
        if self.dirty and self.dirty[-1][1] == start:
            start = self.dirty.pop()[0]
        self.dirty.append((start, end))

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.cut_at = size if self.cut_at is None else min(self.cut_at, size)
        self.dirty = [(start, min(end, size)) for start, end in self.dirty if start < size]

    def sync(self) -> None:
        if self.cut_at is not None:
            del self.synced[self.cut_at :]
        for start, end in self.dirty:
            self._put(start, min(end, len(self.content)))
        self.synced += bytes(len(self.content) - len(self.synced))
        self.dirty, self.cut_at = [], None

    def _put(self, start: int, end: int) -> None:
        self.synced += bytes(max(start - len(self.synced), 0))
        self.synced[start:end] = self.content[start:end]

    def lose_power(self, rng: random.Random) -> None:
        """Of what was written since the last sync a random beginning was on the disk already."""
        kept = rng.randrange(sum(end - start for start, end in self.dirty) + 1)
        if self.cut_at is None or self.cut_at >= len(self.synced):
            for start, end in self.dirty:
                self._put(start, start + min(end - start, kept))
                kept -= min(end - start, kept)
        self.content, self.dirty, self.cut_at = bytearray(self.synced), [], None


class LossyFile:
    def __init__(self, disk: LossyDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        return len(self._inode.content)

    def append(self, data: bytes) -> None:
        self._disk.before()
        room, inode = self._disk.room_bytes, self._inode
        taken = data if room is None else data[:room]
        inode.wrote(len(inode.content), len(inode.content) + len(taken))
        inode.content += taken
        if room is not None:
            self._disk.room_bytes = room - len(taken)
        if len(taken) < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def write_at(self, position: int, data: bytes) -> None:
        self._disk.before()
        self._inode.content[position : position + len(data)] = data
        self._inode.wrote(position, position + len(data))

    def read_at(self, position: int, size: int) -> bytes:
        data = bytes(memoryview(self._inode.content)[position : position + size])
        self._disk.read_bytes += len(data)
        return data

    def truncate(self, size: int) -> None:
        self._disk.before()
        self._inode.truncate(size)

    def fdatasync(self) -> None:
        self._disk.before()
        self._disk.syncs += 1
        error = self._disk.failing()
        if error is not None:
            self._inode.dirty = []  # as Linux does: the pages are readable, and nothing writes them any more
            raise error
        if self._disk.honest:
            self._inode.sync()

    def close(self) -> None:
        self._inode.locked = False


class LossyDisk:
    """A file system in memory. `lose_power` forgets what was not synced; with `honest=False` a sync does nothing."""

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest
        self.syncs = 0
        self.read_bytes = 0
        self.sync_error: OSError | None = None
        """What each sync raises."""
        self.sync_errors: list[OSError | None] = []
        """What the next syncs raise."""
        self.room_bytes: int | None = None
        self.before: Callable[[], None] = lambda: None
        """Called before each operation that changes something: what it raises, the operation raises."""
        self._inodes: dict[str, _Inode] = {}
        self._kept: dict[str, _Inode] = {}
        """Names that survive a loss of power."""
        self._changes: list[dict[str, _Inode | None]] = []
        """What happened to names since, in order; each is kept or lost as a whole, and none without those before it."""

    def failing(self) -> OSError | None:
        """What this sync raises."""
        return self.sync_errors.pop(0) if self.sync_errors else self.sync_error

    def make_folder(self, path: Path) -> None:
        """Folders need no entry here."""

    def names(self, path: Path) -> list[str]:
        folder = f"{path}/"
        names = (each.removeprefix(folder) for each in self._inodes if each.startswith(folder))
        return sorted(name for name in names if "/" not in name)

    def open(self, path: Path, *, create: bool = False) -> LossyFile:
        inode = self._inodes.get(name := str(path))
        if inode is None:
            if not create:
                raise FileNotFoundError(path)
            inode = _Inode()
            self._change({name: inode})
        return LossyFile(self, inode)

    def rename(self, path: Path, target: Path) -> None:
        self.before()
        self._change({str(path): None, str(target): self._inodes[str(path)]})

    def remove(self, path: Path) -> None:
        self.before()
        if str(path) not in self._inodes:
            raise FileNotFoundError(path)
        if self.room_bytes is not None:
            self.room_bytes += self.size(path)
        self._change({str(path): None})

    def _change(self, change: dict[str, _Inode | None]) -> None:
        self._changes.append(change)
        _apply(change, self._inodes)

    def sync_folder(self, path: Path) -> None:
        self.before()
        if (error := self.failing()) is not None:
            raise error
        if self.honest:
            for change in self._changes:
                _apply(change, self._kept)
            self._changes.clear()

    def lock(self, path: Path) -> LossyFile:
        file = self.open(path, create=True)
        inode = self._inodes[str(path)]
        if inode.locked:
            raise BlockingIOError
        inode.locked = True
        return file

    def lose_power(self, rng: random.Random) -> None:
        """Keep what was synced; of what was appended, created, renamed and removed since, keep a random beginning."""
        for change in self._changes[: rng.randrange(len(self._changes) + 1) if self.honest else 0]:
            _apply(change, self._kept)
        self._changes.clear()
        self._inodes = dict(self._kept)
        for inode in self._inodes.values():
            inode.locked = False
            inode.lose_power(rng)

    def heal(self) -> None:
        """There is room, and syncs do not fail."""
        self.room_bytes, self.sync_error, self.sync_errors = None, None, []

    def end_process(self) -> None:
        """Locks end with whoever held them; what was written stays readable. Errors were its own, a successor has none."""
        self.heal()
        for inode in self._inodes.values():
            inode.locked = False

    def damage(self, path: Path, position: int) -> None:
        """Flip a bit of what lies on the disk."""
        inode = self._inodes[str(path)]
        inode.content[position] ^= 0x10
        if position < len(inode.synced):
            inode.synced[position] = inode.content[position]

    def cut(self, path: Path, size: int) -> None:
        """Lose the end of a file that lies on the disk."""
        inode = self._inodes[str(path)]
        inode.truncate(size)
        inode.sync()

    def lose(self, path: Path) -> None:
        """Lose a file for good."""
        self.remove(path)
        self.sync_folder(path.parent)

    def write(self, path: Path, content: bytes) -> None:
        """Have a file that lies on the disk."""
        inode = self._inodes[str(path)] = self._kept[str(path)] = _Inode()
        inode.content, inode.synced = bytearray(content), bytearray(content)

    def size(self, path: Path) -> int:
        return len(self._inodes[str(path)].content)

    def segments(self) -> list[Path]:
        return [Path(name) for name in sorted(self._inodes) if name.endswith(".seg")]


def _apply(change: dict[str, _Inode | None], names: dict[str, _Inode]) -> None:
    for path, inode in change.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode
