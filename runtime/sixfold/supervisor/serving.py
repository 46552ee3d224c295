"""The supervisor's side of `control.py`: a Unix socket that only the owner of the data folder can open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import msgspec
import structlog

from sixfold import errors
from sixfold.supervisor import control

_LINE_BYTES_MAX = 64 * 1024


class Controlled(Protocol):
    """What the socket controls; `tree.Tree` is one."""

    stopping: asyncio.Event

    def status(self) -> control.SystemStatus: ...

    async def start(self, names: Sequence[str]) -> None: ...

    async def stop(self, names: Sequence[str]) -> None: ...


class ControlServer:
    """Serves one system. Use as an async context manager."""

    def __init__(self, data_dir: Path, controlled: Controlled) -> None:
        self._data_dir = data_dir
        self._controlled = controlled
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        folder = self._data_dir / control.FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / control.SOCKET).unlink(missing_ok=True)  # of a supervisor that was killed; this one holds the lock
        folder.chmod(0o700)
        with control.address(self._data_dir) as path:
            self._server = await asyncio.start_unix_server(self._accept, path, limit=_LINE_BYTES_MAX)
        (folder / control.SOCKET).chmod(0o600)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        (self._data_dir / control.FOLDER / control.SOCKET).unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()

    async def _answer(self, line: bytes) -> control.Reply:
        try:
            asked = msgspec.json.decode(line, type=control.Request)
            if asked.action != "status":
                structlog.get_logger().info("asked", action=f"asked_{asked.action}", names=list(asked.names))
            if asked.action == "down":
                self._controlled.stopping.set()
            elif asked.action == "start":
                await self._controlled.start(asked.names)
            elif asked.action == "stop":
                await self._controlled.stop(asked.names)
            return control.Reply(system=self._controlled.status())
        except (errors.UsageError, msgspec.DecodeError, RecursionError) as error:
            return control.Reply(error=str(error), usage=True)
        except errors.SixfoldError as error:
            return control.Reply(error=str(error))
