"""Starts and ends `program.py` processes, and tells which of them owns the bus."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sixfold import clock as clocks
from sixfold.bus.embedded import ownership

PROGRAM = Path(__file__).parent / "program.py"
DEADLINE_S = 30.0


async def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once `condition` holds; fail with `what` was awaited."""
    clock = clocks.SystemClock()
    end = clock.monotonic() + deadline_s
    while not condition():
        assert clock.monotonic() < end, f"not within {deadline_s} s: {what}"
        await clock.sleep(0.01)


def owner_pid(folder: Path) -> int | None:
    """The process that listens on the bus's socket; None where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(ownership.socket_path(folder)))
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


class Processes:
    """The processes of one test; all are ended at its end."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder = folder
        self._notes = notes
        self._count = 0
        self.running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    async def start(self, role: str) -> str:
        """Start one and wait until its bus is open; its name."""
        self._count += 1
        name = f"{role}{self._count}"
        command = [sys.executable, "-W", "error", str(PROGRAM), role, str(self.folder), str(self._path(name)), name]
        self._spawn(name, role, command)
        await until(lambda: any("ready" in note for note in self.notes(name)), f"{name} is ready")
        return name

    def _spawn(self, name: str, role: str, command: list[str]) -> None:
        self.running[name] = (role, subprocess.Popen(command))

    def _path(self, name: str) -> Path:
        return self._notes / f"{name}.notes"

    def notes(self, name: str) -> Iterator[dict[str, Any]]:
        """What a process wrote down."""
        path = self._path(name)
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def all_notes(self, key: str) -> list[dict[str, Any]]:
        """All processes' notes that have `key`."""
        names = [path.stem for path in sorted(self._notes.glob("*.notes"))]
        return [note for name in names for note in self.notes(name) if key in note]

    async def kill_owner(self) -> tuple[str, str]:
        """Kill -9 the owner, whichever it is; its role and name. Returns once another owns the bus."""
        old = owner_pid(self.folder)
        name, (role, process) = next(item for item in self.running.items() if item[1][1].pid == old)
        process.kill()
        process.wait()
        del self.running[name]
        await until(lambda: owner_pid(self.folder) not in (None, old), f"another owns the bus after {name}")
        return role, name

    async def stop(self, *roles: str) -> None:
        """End all of these roles in order."""
        chosen = {name: process for name, (role, process) in self.running.items() if role in roles}
        for process in chosen.values():
            process.send_signal(signal.SIGTERM)
        for name, process in chosen.items():
            code = await asyncio.to_thread(process.wait, DEADLINE_S)
            assert code == 0, f"{name} ended with {code}"
            del self.running[name]

    def close(self) -> None:
        """Kill what is left."""
        for _, process in self.running.values():
            process.kill()
            process.wait()
