"""The whole system as a user starts it, `sixfold up`, and killing every process of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from tests.support.waiting import eventually

from sixfold import errors, system
from sixfold.supervisor import control

START_S = 90.0


class Tree:
    """`sixfold up` on one data folder."""

    def __init__(self, data_dir: Path, *, bus_url: str = "embedded:") -> None:
        self.data_dir = data_dir
        self.bus_url = bus_url
        self._up: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._up is not None
        return self._up.pid

    @property
    def log(self) -> str:
        """What `up` printed so far."""
        return (self.data_dir / "up.log").read_text(errors="replace")

    async def start(self) -> None:
        """Start it and return once every process is ready; nothing is repaired by hand before."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        words = ["--data-dir", str(self.data_dir), "--bus", self.bus_url, "up", "--port", "0"]
        with (self.data_dir / "up.log").open("ab") as log:
            self._up = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sixfold", *words, stdout=log, stderr=log, start_new_session=True
            )
        await eventually(self._ready, f"sixfold up is ready; see {self.data_dir / 'up.log'}", START_S)

    async def _ready(self) -> bool:
        assert self._up is not None
        assert self._up.returncode is None, f"sixfold up ended: {self.log[-2000:]}"
        try:
            status = await control.ask(self.data_dir, "status")
        except errors.SixfoldError:
            return False
        return status.pid == self._up.pid and all(each.state == "running" for each in status.processes)

    async def kill(self, *others: int) -> None:
        """kill -9 of the supervisor, every child and `others`; all are stopped first, so nobody sees another one die."""
        assert self._up is not None
        recorded = system.read(self.data_dir)
        pids = [self._up.pid, *(recorded.processes.values() if recorded else ()), *others]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        await self._up.wait()

    async def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        assert self._up is not None
        with contextlib.suppress(ProcessLookupError):
            self._up.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._up.wait(), 60)
