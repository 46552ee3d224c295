"""Keeps `system.json` true while the disk lets it: what cannot be written now is written once there is room.

The record is how others find the system; that it is late must not hinder the processes themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold import system

AGAIN_S = 1.0
"""Wait before a record that could not be written is tried again."""


class Recording:
    """Writes what `current` returns; for the supervisor's event loop."""

    def __init__(self, data_dir: Path, current: Callable[[], system.System], clock: clocks.Clock) -> None:
        self._data_dir = data_dir
        self._current = current
        self._clock = clock
        self._late: asyncio.Task[None] | None = None

    def write(self) -> None:
        """Write the record now. Raises OSError where that cannot be done."""
        system.write(self._data_dir, self._current())

    def changed(self) -> None:
        """Write the record now, or as soon as it can be; says in the log, once, that it is late."""
        if self._late is not None:
            return  # it is written with what is current then
        try:
            self.write()
        except OSError as error:
            structlog.get_logger().warning(
                "the system's record cannot be written; others see an old one until there is room",
                action="record_late",
                file=str(self._data_dir / system.FILE),
                error=str(error),
            )
            self._late = asyncio.get_running_loop().create_task(self._write_later(), name="write the system's record")

    async def close(self) -> None:
        """Try no more."""
        if self._late is not None:
            self._late.cancel()
            await asyncio.gather(self._late, return_exceptions=True)

    async def _write_later(self) -> None:
        written = False
        while not written:
            await self._clock.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                self.write()
                written = True
        self._late = None
        structlog.get_logger().info("the system's record is written again", action="record_written")
