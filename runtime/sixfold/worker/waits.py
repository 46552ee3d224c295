"""Lanes that wait for a time: of the next attempt, or of the end of a batch's window. They hold no runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sixfold import clock as clocks
from sixfold.worker.lanes import Lane


class Waits:
    """Waits on `clock`; calls `release` with a lane whose time has come."""

    def __init__(self, clock: clocks.Clock, release: Callable[[Lane], None]) -> None:
        self._clock = clock
        self._release = release
        self._waits: dict[Lane, tuple[float, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def due_s(self) -> tuple[float, ...]:
        """When each waiting lane's time comes, on the clock's monotonic scale."""
        return tuple(due_s for due_s, _ in self._waits.values())

    def add(self, lane: Lane, due_s: float) -> None:
        """Release `lane` at `due_s`."""
        self._waits[lane] = (due_s, asyncio.create_task(self._wait(lane, due_s), name="wait of a lane"))

    async def _wait(self, lane: Lane, due_s: float) -> None:
        await self._clock.sleep(due_s - self._clock.monotonic())
        del self._waits[lane]
        self._release(lane)

    def cancel(self, lane: Lane) -> None:
        """`lane` waits no more, and is not released."""
        _, task = self._waits.pop(lane)
        task.cancel()

    def skip_refused(self) -> None:
        """Release at once the lanes whose first record belongs to a partition that accepts no more work."""
        for lane, (_, task) in list(self._waits.items()):
            if not lane.items or not lane.items[0][1].accepting:
                task.cancel()
                del self._waits[lane]
                self._release(lane)

    def lanes(self) -> list[Lane]:
        """The lanes that wait."""
        return list(self._waits)

    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that wait, to be cancelled at the end."""
        return [task for _, task in self._waits.values()]
