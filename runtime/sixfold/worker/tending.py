"""Runs one worker and watches it: a worker that is stuck is ended, however little of it still answers."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from sixfold import clock as clocks
from sixfold.worker import watchdog
from sixfold.worker.limits import Limits
from sixfold.worker.member import Worker

LEAVE_S = 10.0
"""For a stuck worker to leave its group and close, after its handlers were given what a stop gives them."""


async def tend(worker: Worker, stopping: asyncio.Event, clock: clocks.Clock, limits: Limits) -> None:
    """`worker.run(stopping)`; raises what that raises, and StuckError once the worker is stuck and was ended.

    One that does not end within `limits.stop_s` and ten seconds is left behind: what it may still settle is refused by
    the bus as soon as its partitions have a new owner.
    """
    working = asyncio.create_task(worker.run(stopping), name=f"{worker.function.name} worker")
    watching = asyncio.create_task(_watch(worker, stopping, clock, limits), name=f"{worker.function.name} watchdog")
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            ended, _ = await asyncio.wait([working], timeout=limits.stop_s + LEAVE_S)
            if not ended:
                structlog.get_logger().error(
                    "a stuck worker does not end and is left behind",
                    action="stuck.abandoned",
                    function=worker.function.name,
                )
                working.add_done_callback(_forget)
            elif not working.cancelled() and (error := working.exception()) is not None:
                _note(worker, error)
            await watching
        else:
            await working
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.wait([working])
        raise
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, watchdog.StuckError):
            await watching


async def _watch(worker: Worker, stopping: asyncio.Event, clock: clocks.Clock, limits: Limits) -> None:
    """Raise StuckError once `worker` is stuck; one that is to stop has deadlines of its own."""
    dog = watchdog.Watchdog()
    while True:
        await clock.sleep(limits.stuck_s / watchdog.LOOKS)
        what = dog.look(worker.sight())
        if not what or stopping.is_set():
            continue
        lag, answers = await worker.unread()
        sight = worker.sight()
        if dog.confirm(lag=lag, answers=answers) and not stopping.is_set():
            raise watchdog.StuckError(
                f"{worker.function.name} is stuck: {what}, for {limits.stuck_s:g} s or more, while the bus answers; it "
                f"sees {lag} records to fetch, {sight.backlog} fetched and not done, "
                f"{'some' if sight.settling else 'none'} to settle"
            )


def _note(worker: Worker, error: BaseException) -> None:
    structlog.get_logger().warning(
        "a stuck worker ended with an error",
        action="stuck.ended",
        function=worker.function.name,
        why=f"{type(error).__name__}: {error}",
    )


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
