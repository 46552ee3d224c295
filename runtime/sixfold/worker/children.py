"""Processes for CPU-bound handlers: one for each runner, started at its first call, killed when a call takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from typing import Any

from sixfold import errors
from sixfold.context import Context
from sixfold.function import AnyFunction
from sixfold.worker import cpu
from sixfold.worker.batch_context import BatchContext

START_S = 60.0
"""Importing a handler's module, with a model that it loads, may take so long."""

PIPES_S = 1.0
"""The pipes of a process that was killed close within milliseconds."""


PROGRAM = "from sixfold.worker import cpu; cpu.main()"
"""Not `-m sixfold.worker.cpu`: what is pickled there would belong to a module `__main__`."""


class ChildGoneError(errors.TemporaryError):
    """The process that ran a handler ended during its call, as by a crash in native code or for want of memory."""


class Child:
    """One process that calls one function's handler."""

    def __init__(self, function: AnyFunction) -> None:
        self._function = function
        self._process: asyncio.subprocess.Process | None = None
        self._killed: list[asyncio.subprocess.Process] = []

    async def call(self, events: Any, context: Context | BatchContext) -> None:
        """Call the handler; what it made lands in `context`. Raises what it raised.

        A call that is cancelled kills the process; the next one starts another.
        """
        try:
            process = await self._started()
            batch = isinstance(context, BatchContext)
            answer: cpu.Answer = await self._ask(
                process,
                cpu.Call(
                    events=events,
                    records=context.records if isinstance(context, BatchContext) else [context.record],
                    attempt=context.attempt,
                    name=context.process.name,
                    data_dir=context.process.data_dir,
                    bus_url=context.process.bus_url,
                ),
            )
        except BaseException:
            self.kill()
            raise
        if answer.error is not None:
            raise answer.error
        for index, made in enumerate(answer.made):
            one = context[index] if isinstance(context, BatchContext) else context
            one.emit(*made.emitted)
            one.timers.update(made.timers)
            if made.answer is not None:
                one.answer(made.answer)
        if batch:
            for index, error in answer.failures.items():
                context.fail(index, error)  # type: ignore[union-attr]

    async def start(self) -> None:
        """Start the process unless it runs. Raises what importing the handler's module raised, ChildGoneError."""
        try:
            await self._started()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            self._killed = [each for each in self._killed if each.returncode is None]
            self._killed.append(process)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def gone(self) -> None:
        """Return once all processes that were killed have ended and their pipes are closed: the loop may end then."""
        killed, self._killed = self._killed, []
        for process in killed:
            await process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            # What a handler forked may hold the pipe open; that is not waited for.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
                async with asyncio.timeout(PIPES_S):
                    await process.stdin.wait_closed()
                    await process.stdout.read()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        )  # fmt: skip
        async with asyncio.timeout(START_S):
            failure = await self._ask(self._process, cpu.Handler.of(self._function))
        if failure is not None:
            raise failure
        return self._process

    async def _ask(self, process: asyncio.subprocess.Process, message: Any) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(cpu.message(message))
            await process.stdin.drain()
            size = cpu.LENGTH.unpack(await process.stdout.readexactly(cpu.LENGTH.size))[0]
            return pickle.loads(await process.stdout.readexactly(size))  # noqa: S301 (from our own child, by a pipe)
        except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError) as error:
            code = await process.wait()
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise ChildGoneError(f"the process of {self._function.name} ended {how} during a call") from error
