"""Waiting for a condition with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], *, deadline_s: float = 30.0) -> T:
    """What `condition` gives, once that is true. Raises TimeoutError after `deadline_s`."""
    async with asyncio.timeout(deadline_s):
        while True:
            value = condition()
            found: T = await value if inspect.isawaitable(value) else value  # type: ignore[assignment]
            if found:
                return found
            await asyncio.sleep(0.01)
