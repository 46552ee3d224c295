"""What the demonstration started, wherever it went: found through the process tree, and ended.

A deployed service leaves its parent, its session and its process group, as a service should. Linux gives such orphans
to the nearest ancestor that asks for them, so that every process of a run stays a descendant of the demonstration.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors

GENTLE_S = 10.0
"""From SIGTERM to SIGKILL: `examples/05-web-service/scripts/stop.sh` gives its service as long."""
KILL_S = 10.0
"""After SIGKILL only a process that hangs in the kernel is still there."""
POLL_S = 0.05
_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h; see prctl(2)."""


class LeftOverError(errors.SixfoldError):
    """A process could not be ended; the message names it."""


def adopt_orphans() -> None:
    """From now on whatever descends from this process and loses its parent becomes a child of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"the system refuses to hand over orphans: {os.strerror(number)}")


def descendants(but: Collection[int] = ()) -> list[int]:
    """Living processes that descend from this one, parents first; without `but` and what descends from those."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    looked_at = [os.getpid()]
    while looked_at:
        born = [pid for pid in children.get(looked_at.pop(), ()) if pid not in but]
        found += born
        looked_at += born
    return found


def deployed_under(data_dir: Path) -> list[int]:
    """Living processes that a deployment started on an instance of `data_dir`, also those of an earlier run."""
    # The agent gives each script INSTANCE_ROOT, and what a script starts inherits it.
    mark = b"INSTANCE_ROOT=" + os.fsencode(data_dir / "deploy" / "instances") + b"/"
    return [pid for pid, _ in _parents() if any(each.startswith(mark) for each in _environment_of(pid))]


async def end(find: Callable[[], list[int]], clock: clocks.Clock, *, gentle_s: float = GENTLE_S) -> None:
    """SIGTERM to whatever `find` finds, SIGKILL after `gentle_s`, until it finds nothing. Raises LeftOverError."""
    deadline = clock.monotonic() + gentle_s
    asked: set[int] = set()
    while pids := find():
        over_s = clock.monotonic() - deadline
        if over_s >= KILL_S:
            raise LeftOverError(
                f"these processes cannot be ended: {', '.join(map(_described, pids))}; end them by hand"
            )
        if over_s >= 0:
            kill(pids)
        else:
            kill([pid for pid in pids if pid not in asked], signal.SIGTERM)
            asked.update(pids)
        await clock.sleep(POLL_S)


def kill(pids: Collection[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to each that still runs."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _parents() -> list[tuple[int, int]]:
    """(process, its parent) of every process that has not ended; a zombie has."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    found.append((int(name), int(parent)))
    return found


def _environment_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone, or another user's


def _described(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{pid} ({Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace').strip()})"
    return str(pid)
