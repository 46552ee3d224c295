"""One process of the system: starts it, hears when it is ready, sees it end, starts it again. Decided by `restart.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import structlog

from sixfold import clock as clocks
from sixfold.supervisor import control, lifeline, restart
from sixfold.supervisor.plan import ProcessSpec
from sixfold.supervisor.restart import Doing, Happening, State
from sixfold.telemetry import logs

_TAIL_BYTES = 4096
_REASON_CHARS = 300


class Child:
    """A process of the system. Every method is for the supervisor's event loop."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        log: Path,
        clock: clocks.Clock,
        rng: random.Random,
        environment: Mapping[str, str],
        listen: socket.socket | None = None,
        policy: restart.Policy | None = None,
        changed: Callable[[Child], None] = lambda child: None,
    ) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self._log = log
        self._clock = clock
        self._rng = rng
        self._environment = environment
        self._listen = listen
        self._policy = policy or restart.Policy()
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._started_at_ms: int | None = None
        self._started = 0.0
        self._failures = 0
        self._restarts = 0
        self._reason = ""
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wait: asyncio.Task[None] | None = None

    def status(self) -> control.ProcessStatus:
        """How it is now."""
        return control.ProcessStatus(
            name=self.spec.name,
            state=self.state.value,
            pid=self._process.pid if self._process else None,
            started_at_ms=self._started_at_ms,
            restarts=self._restarts,
            reason=self._reason,
            log=str(self._log),
        )

    async def start(self) -> None:
        """Start it unless it runs; returns when it is ready, or ended for good.

        Crashes on the way are retried for as long as it takes.
        """
        if self.state is State.STOPPING:
            await self.until(State.STOPPED)
        self.apply(Happening.START)
        await self.until(State.RUNNING, State.STOPPED)

    async def stop(self) -> None:
        """Ask it to end and wait until it has; killed where it takes longer than the policy's `stop_s`."""
        self.apply(Happening.STOP)
        await self.until(State.STOPPED)

    def kill(self) -> None:
        """End it at once, without a chance to finish."""
        self.apply(Happening.STOP)
        self._signal(signal.SIGKILL)

    async def until(self, *states: State) -> None:
        """Return once it is in one of `states`."""
        while self.state not in states:
            await self._moved.wait()

    async def close(self) -> None:
        """Wait for what is still under way in this process; the child has ended."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def apply(self, happening: Happening) -> None:
        """Take one step of the table and do what it says."""
        before = self.state
        self.state, doing = restart.step(before, happening)
        if doing is Doing.SPAWN:
            self._cancel_wait()
            self._task(self._live())
        elif doing is Doing.TERMINATE:
            self._task(self._terminate())
        elif doing is Doing.SCHEDULE:
            wait_s = restart.delay_s(self._policy, self._failures, self._rng)
            structlog.get_logger().warning(
                "a process ended by itself and is started again",
                action="process_restarts",
                name=self.spec.name,
                reason=self._reason,
                wait_s=round(wait_s, 3),
                failures=self._failures,
            )
            self._wait = self._task(self._later(wait_s))
        elif doing is Doing.CANCEL:
            self._cancel_wait()
        if self.state is not before:
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
            self._tell()

    def _tell(self) -> None:
        """Tell the listener; a fault of its own must not end the life of a process half-way."""
        try:
            self._changed(self)
        except Exception:
            structlog.get_logger().exception(
                "a listener failed", action="listener_failed", name=self.spec.name, state=self.state.value
            )

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"supervise {self.spec.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _cancel_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    async def _later(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._wait = None
        self._restarts += 1
        self.apply(Happening.DUE)

    async def _live(self) -> None:
        """From the start of the process to its end; whatever goes wrong on the way, it has ended then."""
        self._started = self._clock.monotonic()
        self._started_at_ms = clocks.now_ms(self._clock)
        ended = Happening.EXITED
        try:
            code = await self._run()
        except Exception as error:
            self._signal(signal.SIGKILL)  # one that nobody watches must not go on
            self._reason = f"cannot be started: {error}"
            self._failures += 1
        else:
            if self.state is State.STOPPING:
                self._reason, self._failures = "stopped", 0
            elif code == lifeline.FINISHED_CODE:
                self._reason, self._failures, ended = "ended for good; its log says why", 0, Happening.FINISHED
            else:
                self._reason = self._why(code)
                ran_s = self._clock.monotonic() - self._started
                self._failures = restart.failures_after(self._policy, self._failures, ran_s)
        self._process = None
        self.apply(ended)

    async def _run(self) -> int:
        """The exit code of a process that was started. Raises OSError where it could not be."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._process = await self._spawn(theirs)
            self._tell()
            if self.state is State.STOPPING:
                self._signal(signal.SIGTERM)
            hearing = self._task(self._hear(ours))
            code = await self._process.wait()
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            return code

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        environment = dict(self._environment)
        environment[lifeline.VARIABLE] = str(theirs.fileno())
        environment[lifeline.NAME_VARIABLE] = self.spec.name
        passed = [theirs.fileno()]
        if self.spec.listens and self._listen is not None:
            environment[lifeline.LISTEN_VARIABLE] = str(self._listen.fileno())
            passed.append(self._listen.fileno())
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(output).st_size > logs.BYTES_MAX:  # one that crashes before it logs never rotates by itself
                os.ftruncate(output, 0)
            return await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C at the terminal is for the supervisor, who stops all in order
            )
        finally:
            os.close(output)

    async def _hear(self, ours: socket.socket) -> None:
        if await lifeline.ready(ours):
            self.apply(Happening.READY)

    async def _terminate(self) -> None:
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._policy.stop_s):
                await self.until(State.STOPPED)
        if self.state is State.STOPPING:
            structlog.get_logger().warning(
                "a process did not stop in time and is killed", action="process_killed", name=self.spec.name
            )
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _why(self, code: int) -> str:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = self._last_words() if code > 0 else ""
        return f"{how}: {last}" if last else how

    def _last_words(self) -> str:
        """The last line of its log, cut to a readable length."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        with contextlib.suppress(ValueError):
            entry = json.loads(last)
            if isinstance(entry, dict):
                last = str(entry.get("error") or entry.get("event") or last)
        return last[:_REASON_CHARS]
