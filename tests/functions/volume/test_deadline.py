"""Waiting for an append that may never become durable."""

from __future__ import annotations

import asyncio

import pytest

from sixfold_functions.volume import deadline


async def test_a_result_in_time_is_given_and_leaves_no_timer() -> None:
    """Nothing fires later."""
    waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(deadline.within(waiter, 60.0))
    await asyncio.sleep(0)
    waiter.set_result(7)
    assert await waiting == 7


async def test_what_is_not_there_in_time_is_a_timeout_and_the_future_takes_no_result_any_more() -> None:
    """The writer looks whether it is done before it sets one."""
    waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await deadline.within(waiter, 0.0)
    assert waiter.done()


async def test_a_caller_that_is_cancelled_stays_cancelled() -> None:
    """It is no timeout, and the future is not waited for by anybody."""
    waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(deadline.within(waiter, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiter.cancelled()


async def test_a_failure_of_the_writer_reaches_who_waits() -> None:
    """As itself."""
    waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiter.set_exception(RuntimeError("superseded"))
    with pytest.raises(RuntimeError, match="superseded"):
        await deadline.within(waiter, 60.0)
