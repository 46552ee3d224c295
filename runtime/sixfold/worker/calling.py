"""Calling a handler: async ones inline in the runner's task, plain ones in a thread, both within a time limit.

There is no task and no timer per call. A `Runner` notes when its call began; the worker's one watcher ends calls that
last too long by cancelling the runner's task, which raises CancelledError at the handler's `await`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent import futures
from typing import Any

import structlog

from sixfold.context import Context
from sixfold.function import AnyFunction
from sixfold.worker import children
from sixfold.worker.partition import Partition


class Runner:
    """One of the `concurrency` tasks that call the handler."""

    __slots__ = ("interrupt", "partitions", "started_s", "task", "thread")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.partitions: Sequence[Partition] = ()
        """Whose records are being handled now."""
        self.started_s: float | None = None
        """When the call began that runs now, None between calls."""
        self.interrupt: BaseException | None = None
        self.thread: futures.Future[Any] | None = None
        """The plain handler's call, of the record that this runner handled last."""

    def end(self, error: BaseException) -> None:
        """End the call that runs now, as failed with `error`. It must be suspended, which whoever runs may assume."""
        if self.started_s is not None and self.interrupt is None and self.task is not None:
            self.interrupt = error
            self.task.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether the runner itself is to end: its task was cancelled by another than `end`."""
        ended = 1 if self.interrupt is not None else 0
        return self.task is not None and self.task.cancelling() > ended

    def take_interrupt(self) -> BaseException:
        """Why the call was ended; the task goes on as if it had not been cancelled. There must have been an `end`."""
        assert self.interrupt is not None
        assert self.task is not None
        error, self.interrupt = self.interrupt, None
        self.task.uncancel()
        return error


class Caller:
    """Calls one function's handler."""

    def __init__(self, function: AnyFunction, threads_max: int) -> None:
        self._children: dict[Runner, children.Child] = {}
        self.inline: Callable[[Any, Any], Awaitable[Any]] | None = (
            function.handler if inspect.iscoroutinefunction(function.handler) else None
        )
        """The handler to await in the runner's task; None for a plain one: see `plain`."""
        self._function = function
        self._threads_max = threads_max
        self._pool: futures.ThreadPoolExecutor | None = None

    def bound(self, runner: Runner) -> Callable[[Any, Any], Awaitable[Any]]:
        """`plain` for `runner`."""
        return lambda events, context: self.plain(runner, events, context)

    async def prepare(self, runner: Runner) -> None:
        """Have `runner`'s process ready, where the handler is CPU-bound: starting it takes none of a call's time."""
        if self._function.cpu_bound:
            await self._children.setdefault(runner, children.Child(self._function)).start()

    async def plain(self, runner: Runner, event: Any, context: Any) -> Any:
        """Call a plain handler: in a thread, or in the runner's own process where it is CPU-bound."""
        if self._function.cpu_bound:
            return await self._children.setdefault(runner, children.Child(self._function)).call(event, context)
        if self._pool is None:
            self._pool = futures.ThreadPoolExecutor(self._threads_max, thread_name_prefix=self._function.name)
        call = runner.thread = self._pool.submit(contextvars.copy_context().run, self._function.handler, event, context)
        result = await asyncio.wrap_future(call)
        return await result if inspect.isawaitable(result) else result

    async def outlast(self, runner: Runner, context: Context) -> None:
        """After a timeout: a thread cannot be stopped, so its record's next attempt waits until it has ended."""
        call, runner.thread = runner.thread, None
        if call is None or call.done():
            return
        structlog.get_logger().error(
            "a plain handler runs past its time limit; its lane waits for it. Make it async to have it cancelled",
            action="handler.unstoppable",
            function=self._function.name,
            topic=context.record.topic,
            partition=context.record.partition,
            offset=context.record.offset,
        )
        ended, _ = await asyncio.wait([asyncio.wrap_future(call)])
        for future in ended:
            if not future.cancelled():
                future.exception()

    def close(self) -> None:
        """Take no more calls; threads that still run are left to end by themselves, processes are ended."""
        for child in self._children.values():
            child.kill()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def gone(self) -> None:
        """After `close`, once no runner is left: return when the processes have ended."""
        for child in self._children.values():
            await child.gone()
