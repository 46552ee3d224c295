"""What processes used: processor time from /proc, and the fsyncs that `counted.py` counts in a shared page."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

COUNT = struct.Struct("<Q")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """By each process that is metered, since it started."""

    cpu_s: dict[str, float]
    syncs: dict[str, int]

    def since(self, before: Used) -> Used:
        """What was used between two readings."""
        return Used(
            {name: value - before.cpu_s[name] for name, value in self.cpu_s.items()},
            {name: value - before.syncs[name] for name, value in self.syncs.items()},
        )


def cpu_s(stat: str) -> float:
    """Seconds of processor time, user's and system's, of a line of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()  # the name before it may have spaces
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def read(processes: Mapping[str, int], folder: Path) -> Used:
    """Of `processes` (pids by name), whose fsyncs are counted in `folder`; those that do not count theirs are left out."""
    pages = {name: folder / str(pid) for name, pid in processes.items()}
    return Used(
        {name: cpu_s(Path(f"/proc/{pid}/stat").read_text()) for name, pid in processes.items()},
        {name: COUNT.unpack(page.read_bytes()[: COUNT.size])[0] for name, page in pages.items() if page.exists()},
    )


class Counter:
    """A count of this process that others can read at any time, and that outlives it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / str(os.getpid())).open("w+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._count = 0

    def add(self) -> None:
        """One more."""
        self._count += 1
        COUNT.pack_into(self._page, 0, self._count)
