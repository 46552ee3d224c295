"""Storage nodes as child processes, for programs that bring their own bus: benchmarks, tests, a notebook.

async with open_bus(data_dir=folder) as bus, Fleet(folder) as fleet, VolumeWriter(bus, …) as writer: …
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sixfold_functions.volume.core import layout

STOP_S = 10.0


class Fleet:
    """Processes of the volume on one data folder. Entering starts the six copies; each `python -m sixfold run …`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        bus_url: str = "embedded:",
        volume: str = layout.DEFAULT_VOLUME,
        copies: Iterable[str] = layout.COPIES,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "sixfold"),
    ) -> None:
        self._data_dir = data_dir
        self._bus_url = bus_url
        self._volume = volume
        self._copies = tuple(copies)
        self._environment = {**os.environ, **(environment or {})}
        self._program = tuple(program)
        """What runs `sixfold`; a measurement starts it in its own way."""
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        """Running processes by name: copies, and `writer`."""

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self.start(copy) for copy in self._copies))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self.stop(name) for name in list(self.processes)))

    async def start(self, copy: str) -> None:
        """Start the storage node of `copy`."""
        await self._spawn(copy, "volume.storage", "--copy", copy)

    async def start_writer(self) -> None:
        """Start the writer's service."""
        await self._spawn("writer", "volume.writer")

    async def start_backup(self, *arguments: str) -> None:
        """Start the backup's service, with its options."""
        await self._spawn("backup", "volume.backup", *arguments)

    async def _spawn(self, name: str, *arguments: str) -> None:
        logs = self._data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"volume.{name}.log", "ab") as log:  # noqa: ASYNC230 (opened once, at the start of a process)
            self.processes[name] = await asyncio.create_subprocess_exec(
                *self._program,
                "--data-dir",
                str(self._data_dir),
                "--bus",
                self._bus_url,
                "run",
                *arguments,
                "--volume",
                self._volume,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def log_of(self, name: str) -> str:
        """What a process printed so far."""
        return (self._data_dir / "logs" / f"volume.{name}.log").read_text()

    async def stop(self, name: str) -> int:
        """Ask a process to end; returns its exit code."""
        return await self._end(name, signal.SIGTERM)

    async def kill(self, name: str) -> int:
        """kill -9."""
        return await self._end(name, signal.SIGKILL)

    async def _end(self, name: str, how: signal.Signals) -> int:
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()
