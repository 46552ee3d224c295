"""Asking once for many who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Joint(Generic[T]):
    """A question whose answer must be no older than the asking: those that wait share one that is asked after they came.

    So of fifty that come together one asks, and of those that come while it does, one more.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """The answer. Raises what the question raises; a cancellation of one that waits is nothing to the others."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._asking), name="joint question")
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _after(self, other: asyncio.Task[T] | None) -> T:
        if other is not None:
            await asyncio.wait([other])
        self._asking, self._next = self._next, None
        return await self._ask()

    async def close(self) -> None:
        """End what is asked; who waits for it is cancelled."""
        asked = [task for task in (self._asking, self._next) if task is not None]
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
