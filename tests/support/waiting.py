"""Waiting for what must come true, with a deadline; never for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from sixfold.bus import port

T = TypeVar("T")
DEADLINE_S = 30.0
POLL_S = 0.02


@overload
async def eventually(check: Callable[[], Awaitable[T]], what: str, deadline_s: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T], what: str, deadline_s: float = ...) -> T: ...
async def eventually(check: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first truthy answer of `check`; fails with `what` and the last answer when there is none in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while True:
        answer = check()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if loop.time() >= deadline:
            raise AssertionError(f"not in {deadline_s:g} s: {what}; last answer: {answer!r}")
        await asyncio.sleep(POLL_S)


async def collect(consumer: port.Consumer, count: int, deadline_s: float = DEADLINE_S) -> list[port.Record]:
    """The next `count` records or more, in the order in which they came."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    found: list[port.Record] = []
    while len(found) < count:
        if loop.time() >= deadline:
            raise AssertionError(f"{len(found)} of {count} records in {deadline_s:g} s: {found[-3:]}")
        for records in (await consumer.fetch(wait_s=0.2)).values():
            found += records
    return found


async def assigned(
    consumer: port.Consumer, count: int, deadline_s: float = DEADLINE_S
) -> frozenset[port.TopicPartition]:
    """The consumer's partitions once they are `count`."""
    await eventually(lambda: len(consumer.assignment()) == count, f"{count} partitions assigned", deadline_s)
    return consumer.assignment()
