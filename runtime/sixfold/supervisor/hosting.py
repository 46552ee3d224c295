"""The child's side of the system: what `sixfold run` does around the work itself.

It opens the log, the bus and the lifeline, takes the lock of its name (so that two processes never write one storage
node's files), turns signals into `Process.stopping`, and closes everything in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import opening, port
from sixfold.process import Process
from sixfold.supervisor import control, lifeline, places
from sixfold.telemetry import logs, tracing
from sixfold_events.registry import Registry

LOCK_WAIT_S = lifeline.GRACE_S + 5.0
"""How long a new process waits for one of its name that lost its supervisor and is about to end."""
_LOCK_POLL_S = 0.05
MEMBER_VARIABLE = "SIXFOLD_MEMBER"
"""Set for a process that has a name which stays: its groups know it by that."""
READY = ".ready"
"""`run/NAME.ready` in the data folder is there while the process NAME serves: what a container's health check asks.

Only for a process that is alone with its name, as every service is.
"""


class AlreadyRunsError(errors.SixfoldError):
    """Another process holds this name on this data folder."""

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder
        """Its pid, as it wrote it down."""


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """What to run and with what."""

    name: str
    data_dir: Path
    registry: Registry
    run: Callable[[Process], Awaitable[None]]
    bus_url: str | None
    """None for a process that has no bus access."""
    options: Mapping[str, str] = field(default_factory=dict)
    topics: Callable[[Collection[str]], Sequence[port.TopicSpec]] = lambda existing: ()
    """What to make beside the topics that exist, for a process that runs before or without `sixfold up`."""
    alone: bool = True
    """One process of this name at a time."""


async def host(hosted: Hosted) -> None:
    """Run it until it returns, is asked to stop, or the supervisor is gone."""
    line = lifeline.Lifeline.from_environment(os.environ)
    name = line.name if line else hosted.name
    clock = clocks.SystemClock()
    if line is not None:
        logs.to_file(hosted.data_dir / logs.FOLDER / f"{name}.log", redirect=True, process=name)
    else:
        logs.to_terminal()
    log = structlog.get_logger()
    hosted.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    tracing.configure(os.environ, name)
    process = Process(
        name=name,
        data_dir=hosted.data_dir,
        registry=hosted.registry,
        clock=clock,
        options=hosted.options,
        member=os.environ.pop(MEMBER_VARIABLE, None),
    )
    loop = asyncio.get_running_loop()
    if line is not None:

        def lost() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(_supervisor_lost, process)

        line.watch(lost)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_signals(process))
        alone = hosted.alone or line is not None
        if alone:
            await stack.enter_async_context(locked(hosted.data_dir, name, clock, wait_s=LOCK_WAIT_S if line else 0.0))
        mark = stack.enter_context(_marker(hosted.data_dir / control.FOLDER / f"{name}{READY}" if alone else None))
        if hosted.bus_url is not None:
            if process.member is None and opening.keeps_places(hosted.bus_url):
                process.member = stack.enter_context(places.taken(hosted.data_dir / control.FOLDER, name))
            bus = opening.open_bus(hosted.bus_url, data_dir=hosted.data_dir, clock=clock)
            process.bus = await stack.enter_async_context(bus)
            if line is None:  # a supervisor has made them already
                await process.bus.create_topics(hosted.topics(await process.bus.topics()))
        stack.push_async_callback(process.resources.close)

        def ready() -> None:
            log.info("ready", action="ready")
            mark()
            if line is not None:
                line.ready()

        process.ready = ready
        log.info("starts", action="starts", pid=os.getpid())
        try:
            await hosted.run(process)
        except Exception as error:
            unexpected = not isinstance(error, errors.SixfoldError)
            if unexpected or line is not None:  # at a terminal the command line says what was expected
                log.error(
                    "failed", action="failed", error=f"{type(error).__name__}: {error}", exc_info=unexpected or None
                )
            raise
        log.info("ended", action="ended", finished=process.finished)
        if process.finished and line is not None:
            raise SystemExit(lifeline.FINISHED_CODE)


def _supervisor_lost(process: Process) -> None:
    structlog.get_logger().warning("the supervisor is gone; stopping", action="supervisor_lost")
    process.stopping.set()


@contextlib.contextmanager
def _marker(path: Path | None) -> Iterator[Callable[[], None]]:
    """A call that makes the file, which is gone before and after; one that cannot be made is done without."""

    def make() -> None:
        with contextlib.suppress(OSError):
            if path is not None:
                path.touch(0o600)

    def remove() -> None:
        if path is not None:
            path.unlink(missing_ok=True)

    remove()
    try:
        yield make
    finally:
        remove()


@contextlib.contextmanager
def _signals(process: Process) -> Iterator[None]:
    """SIGTERM and SIGINT ask to stop; a second one ends the process where it stands."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if process.stopping.is_set():
            os._exit(130)
        process.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def locked(data_dir: Path, name: str, clock: clocks.Clock, *, wait_s: float) -> AsyncIterator[None]:
    """Hold the lock of `name` on the data folder. Raises AlreadyRunsError where another keeps it for `wait_s`.

    The kernel frees it with its holder, so a crash leaves nothing to repair.
    """
    folder = data_dir / control.FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = clock.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic() >= deadline:
                    holder = path.read_text().strip() or "unknown"
                    raise AlreadyRunsError(
                        f"{name} runs already on {data_dir} (pid {holder}); stop it first, or choose another --data-dir",
                        holder=holder,
                    ) from None
            await clock.sleep(_LOCK_POLL_S)
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only the next one is not told by whom
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
