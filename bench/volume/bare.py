"""What six fsynced copies cost where nothing is promised: one loop that writes what waits to six files and fsyncs each.

No processes, no bus, no codec, no quorum, no recovery; every append waits for all six.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bench.volume.load import RECORD

FILES = 6


class BareFiles:
    """Six files in `folder`. Use as an async context manager."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._files = [os.open(folder / f"bare-{number}", flags) for number in range(FILES)]
        self._waiting: list[asyncio.Future[None]] = []
        self._due = asyncio.Event()
        self._count = 0

    async def __aenter__(self) -> BareFiles:
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        for file in self._files:
            os.close(file)

    async def append(self) -> int:
        """Return once the record is in all six files."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._due.set()
        await waiter
        self._count += 1
        return self._count

    async def _write(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            group, self._waiting = self._waiting, []
            data = RECORD * len(group)
            for file in self._files:
                os.write(file, data)
                os.fdatasync(file)
            for waiter in group:
                waiter.set_result(None)
