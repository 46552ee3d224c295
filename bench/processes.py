"""Starting the processes of a measurement and reading what they print."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path


class RoleError(RuntimeError):
    """A measuring process failed; the message is what it wrote to its error output."""


async def start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start `python -m module arguments…`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def finish(process: asyncio.subprocess.Process, timeout_s: float = 60) -> dict[str, float]:
    """The JSON object on the last line that it prints. Raises RoleError where it fails."""
    out, errors = await asyncio.wait_for(process.communicate(), timeout_s)
    if process.returncode:
        raise RoleError(errors.decode()[-2000:])
    result: dict[str, float] = json.loads(out.decode().splitlines()[-1])
    return result


async def role(name: str, url: str, folder: Path, number: int) -> dict[str, float]:
    """Run one role of `bench.roles` to its end."""
    return await finish(await start("bench.roles", name, url, str(folder), str(number)))


@contextlib.asynccontextmanager
async def background(*commands: tuple[str, ...]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes that run while the block does, killed at its end."""
    processes = [await start(*command) for command in commands]
    try:
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in processes:
            await process.wait()
