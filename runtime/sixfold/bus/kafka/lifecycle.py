"""How aiokafka's clients are opened and closed: neither is interrupted in the middle, and both have an end.

A client that is interrupted while it opens keeps the connection that it bootstraps with: aiokafka closes that after a
failure, not after a cancellation. And a client that closes may swallow a cancellation, as its fetcher does, so that a
timeout around it is used up where it helps nothing. Hence both run in tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiokafka import errors as kafka

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

OPENING_S = 5.0
"""How long a client whose user is cancelled may go on opening; brokers answer in milliseconds unless something is wrong."""
CANCELS = 10
"""How often what closes is cancelled when its time is over: one that is swallowed gets it on to its next step."""
CANCEL_S = 0.1
"""How long a cancellation may take."""


async def to_its_end(step: Coroutine[Any, Any, _T]) -> _T:
    """What `step` returns; a cancellation is raised when that is over, a second one at once."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task})
        finally:
            _leave(task)
        raise


async def start(client: Any, timeout_s: float) -> None:
    """Open an aiokafka client. Raises TimeoutError, and what its `start` raises; then it must still be stopped."""
    task = asyncio.create_task(client.start())
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_S)
            raise TimeoutError
        task.result()
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=OPENING_S)
        raise
    finally:
        _leave(task)


async def stop(stopping: Coroutine[Any, Any, object], network: Any, timeout_s: float) -> bool:
    """Whether `stopping`, which closes an aiokafka client, did so in time, and without an error of Kafka's.

    If not, it is interrupted, and left behind if it does not end even then; the connections of `network`, aiokafka's
    inner client, are closed all the same. A cancellation is raised when that is over, a second one at once.
    """
    return await to_its_end(_stop(stopping, network, timeout_s))


async def _stop(stopping: Coroutine[Any, Any, object], network: Any, timeout_s: float) -> bool:
    task = asyncio.create_task(stopping)
    await asyncio.wait({task}, timeout=timeout_s)
    in_time = task.done()
    await _interrupt(task)
    error = None if not task.done() or task.cancelled() else task.exception()
    if not in_time:
        _log.warning(
            "a client of Kafka did not close within %g s%s", timeout_s, "" if task.done() else "; it is left behind"
        )
    if not in_time or task.cancelled() or error is not None:
        if network._sync_task is not None:
            network._sync_task.cancel()
        for connection in list(network._conns.values()):
            connection.close()
    _leave(task)
    if error is not None and not isinstance(error, (kafka.KafkaError, TimeoutError)):
        raise error
    return in_time and not task.cancelled() and error is None


async def end(task: asyncio.Task[Any], timeout_s: float) -> None:
    """Cancel a task of ours and wait until it has ended, which it may take time for; it is left behind after that."""
    task.cancel()
    await asyncio.wait({task}, timeout=timeout_s)
    await _interrupt(task)
    if not task.done():
        _log.warning("%s did not end within %g s; it is left behind", task.get_name(), timeout_s)
    _leave(task)


async def _interrupt(task: asyncio.Task[Any]) -> None:
    for _ in range(CANCELS):
        if task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_S)


def _leave(task: asyncio.Task[Any]) -> None:
    """Nobody waits for the task any more: have it end, and look at what it raises."""
    task.cancel()
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
