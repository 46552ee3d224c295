"""What is left of a run: processes that know a folder by their command line, their environment or an open file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.support.waiting import eventually


def processes_of(folder: Path) -> dict[int, str]:
    """Living processes, but for this one, whose command line or environment names a path below `folder`."""
    found = {}
    for pid in _others():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.fsencode(folder) in words + Path(f"/proc/{pid}/environ").read_bytes():
                found[pid] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def holders_of(folder: Path) -> dict[int, str]:
    """Processes, this one too, that have a file below `folder` open."""
    found = {}
    for pid in [os.getpid(), *_others()]:
        with contextlib.suppress(OSError):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    path = each.readlink()
                    if path.is_relative_to(folder):
                        found[pid] = str(path)
    return found


async def none_left(folder: Path, deadline_s: float = 0.0) -> None:
    """Nothing of `folder` runs any more: now, or by the deadline where something ends by itself."""
    await eventually(lambda: not processes_of(folder), f"nothing is left of {processes_of(folder)}", deadline_s)


def _others() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
