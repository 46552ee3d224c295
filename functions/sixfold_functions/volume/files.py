"""Files of a copy's folder: how they fail, and a bounded number of them open."""

from __future__ import annotations

import collections
import errno
from collections.abc import Callable
from pathlib import Path

from sixfold import errors
from sixfold_functions.volume import disk as disks

OPEN_MAX = 16
"""Descriptors of segments: the newest, and those that were read last."""


class LogError(errors.SixfoldError):
    """Base of the segment log's errors."""


class LogDamagedError(LogError):
    """What was fsynced is not there any more: the disk changed or lost it."""


class LogForeignError(LogError):
    """The folder holds another copy's log."""


class LogFailedError(LogError):
    """A file operation failed; the process must end, so that the next start sees what really is on the disk."""


class LogFullError(LogFailedError):
    """There is no room on the disk."""


def remedy(folder: Path, label: str) -> str:
    """What to do about damage."""
    return (
        f"Look at the disk, then move {folder} away and start {label} again: it gets everything from the other copies, "
        "and counts again once it is level"
    )


def failure(error: OSError, folder: Path, label: str) -> LogFailedError:
    """`error` of a write or a sync in `folder`, as the log's own."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LogFullError(
            f"{label}: no room in {folder} ({error.strerror}); make room, then start it again: "
            "what it had acknowledged is kept, and it catches up"
        )
    return LogFailedError(
        f"{label}: {folder} cannot be written ({error}); the copy stops, since after a failed sync "
        "nobody knows what the disk holds. Look at the disk, then start it again"
    )


class Files:
    """Numbered files, opened when they are needed; all but the last `OPEN_MAX` used are closed again."""

    def __init__(
        self, disk: disks.Disk, path: Callable[[int], Path], opened: Callable[[int, disks.File], disks.File]
    ) -> None:
        self._disk = disk
        self._path = path
        self._opened = opened
        """Called with each file that was there before: what is read in its place."""
        self._open: collections.OrderedDict[int, disks.File] = collections.OrderedDict()

    def get(self, number: int) -> disks.File:
        """The file, which exists. Raises OSError."""
        file = self._open.get(number)
        if file is None:
            return self._keep(number, self._opened(number, self._disk.open(self._path(number))))
        self._open.move_to_end(number)
        return file

    def create(self, number: int) -> disks.File:
        """The file, new or not. Raises OSError."""
        return self._keep(number, self._disk.open(self._path(number), create=True))

    def forget(self, number: int) -> None:
        """Another file has its name now."""
        file = self._open.pop(number, None)
        if file is not None:
            file.close()

    def _keep(self, number: int, file: disks.File) -> disks.File:
        self._open[number] = file
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()
