"""Waiting for a future, but not for ever: a timer alone, since `asyncio.timeout` costs several times as much.

A writer waits once for each append; with `asyncio.timeout` that was a fifth of all that an append cost it.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def within(waiter: asyncio.Future[T], timeout_s: float) -> T:
    """The result of `waiter`, which is the caller's alone. Raises TimeoutError, and whoever sets it later must look."""
    timer = asyncio.get_running_loop().call_later(timeout_s, _expire, waiter)
    try:
        return await waiter
    finally:
        timer.cancel()


def _expire(waiter: asyncio.Future[T]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
        waiter.exception()  # if its caller is cancelled at the same time, nobody else looks at it
