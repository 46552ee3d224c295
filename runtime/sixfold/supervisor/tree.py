"""The whole system: the bus, the topics, the credential, and every process of the plan, until it is asked to stop.

The supervisor opens the bus first, so on the embedded bus it is the owner of the log, and ends last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from sixfold import bus, capability, catalogue, system
from sixfold import clock as clocks
from sixfold.bus import opening
from sixfold.gateway import credentials
from sixfold.supervisor import control, hosting, plan, restart, sockets
from sixfold.supervisor.child import Child
from sixfold.supervisor.recording import Recording
from sixfold.supervisor.serving import ControlServer

NAME = "supervisor"
BUS_WAIT_S = 5.0
"""The bus must answer in this time, or `sixfold up` says that it does not."""
START_WAIT_S = 60.0
"""Processes that are not ready by then are reported; they are started again and again all the same."""
_OWN_VARIABLES = ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP")


class Watch(Protocol):
    """Told how it goes; the command line draws it."""

    def changed(self, status: control.SystemStatus) -> None:
        """A process came into another state."""

    def started(self, status: control.SystemStatus) -> None:
        """Everything that can be ready is; called once."""

    def stopping(self) -> None:
        """The system was asked to stop."""


class Tree:
    """The running system."""

    def __init__(
        self,
        settings: plan.Settings,
        known: catalogue.Catalogue,
        *,
        watch: Watch,
        clock: clocks.Clock | None = None,
        rng: random.Random | None = None,
        policy: restart.Policy | None = None,
    ) -> None:
        self._settings = settings
        self._known = known
        self._watch = watch
        self._clock = clock or clocks.SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 (jitter, no secret)
        self._policy = policy
        self._children: dict[str, Child] = {}
        self._opened: bus.Bus | None = None
        self._listen: socket.socket | None = None
        self._gateway_url = ""
        self._recording = Recording(settings.data_dir, self._system, self._clock)
        self.stopping = asyncio.Event()
        """Set it to stop the system."""

    async def run(self) -> None:
        """Start everything, serve until `stopping`, stop everything. Raises a SixfoldError where it cannot start."""
        settings = self._settings
        data_dir = settings.data_dir
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(_only_one(data_dir, self._clock))
            await self._former_processes_end()
            listen = stack.enter_context(sockets.listening(settings.host, settings.port))
            self._gateway_url = sockets.url_of(listen)
            self._opened = await stack.enter_async_context(self._bus())
            credentials.bootstrap(data_dir)
            self._listen = listen
            await self._plan()
            self._recording.write()
            stack.callback(system.clear, data_dir)
            stack.push_async_callback(self._recording.close)
            await stack.enter_async_context(ControlServer(data_dir, self))
            stack.push_async_callback(self._stop_all)
            starting = asyncio.create_task(self._start_all())
            stack.push_async_callback(_cancelled, starting)
            await self.stopping.wait()
            _tell(self._watch.stopping)

    def status(self) -> control.SystemStatus:
        """How everything is now."""
        return control.SystemStatus(
            pid=os.getpid(),
            bus_url=self._settings.bus_url,
            gateway_url=self._gateway_url,
            data_dir=str(self._settings.data_dir),
            processes=tuple(child.status() for child in self._children.values()),
        )

    async def start(self, names: Sequence[str]) -> None:
        """Start the processes that `names` mean; returns when they are ready. Raises UsageError for an unknown one."""
        if not all(name in self._children for name in names):
            await self._plan()
        await asyncio.gather(*(self._children[name].start() for name in control.matching(names, list(self._children))))

    async def stop(self, names: Sequence[str]) -> None:
        """Stop the processes that `names` mean; returns when they have ended. Raises UsageError for an unknown one."""
        await asyncio.gather(*(self._children[name].stop() for name in control.matching(names, list(self._children))))

    def kill(self) -> None:
        """End every process at once."""
        for child in self._children.values():
            child.kill()

    async def _plan(self) -> None:
        """Have a child for each process of the plan as it is now; those that there are stay."""
        assert self._opened is not None
        services = [service for each in self._known.capabilities for service in each.services]
        current = {
            service.name: await capability.resolve(service.current)(self._opened, self._known.registry)
            for service in services
            if service.current is not None
        }
        environment = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
        folder = self._settings.data_dir / "logs"
        for spec in plan.plan(self._known.capabilities, self._settings, current):
            if spec.name not in self._children:
                self._children[spec.name] = Child(
                    spec,
                    log=folder / f"{spec.name}.log",
                    clock=self._clock,
                    rng=self._rng,
                    environment=environment,
                    listen=self._listen,
                    policy=self._policy,
                    changed=self._changed,
                )

    @contextlib.asynccontextmanager
    async def _bus(self) -> AsyncIterator[bus.Bus]:
        """The bus with every topic made."""
        url, data_dir = self._settings.bus_url, self._settings.data_dir
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(BUS_WAIT_S):
                    opened = opening.open_bus(url, data_dir=data_dir, clock=self._clock)
                    opened = await stack.enter_async_context(opened)
            except TimeoutError:
                raise bus.BusUnavailableError(
                    f"no bus answers at {url} within {BUS_WAIT_S:g} s; check the address and that Kafka runs there, "
                    "or leave --bus away for the embedded bus"
                ) from None
            await opened.create_topics(self._known.topics_to_make(await opened.topics()))
            yield opened

    async def _former_processes_end(self) -> None:
        """Wait for the children of a supervisor that was killed: they notice, finish, and end by themselves."""
        former = system.read(self._settings.data_dir)
        for name in former.processes if former else ():
            async with hosting.locked(self._settings.data_dir, name, self._clock, wait_s=hosting.LOCK_WAIT_S):
                continue

    def _changed(self, child: Child) -> None:
        self._recording.changed()
        status = self.status()
        structlog.get_logger().info(
            "process", action="process_changed", name=child.spec.name, state=child.state.value, pid=child.status().pid
        )
        _tell(lambda: self._watch.changed(status))

    def _system(self) -> system.System:
        pids = {child.spec.name: pid for child in self._children.values() if (pid := child.status().pid) is not None}
        return system.System(
            pid=os.getpid(), bus_url=self._settings.bus_url, gateway_url=self._gateway_url, processes=pids
        )

    async def _start_all(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                for stage in sorted({child.spec.stage for child in self._children.values()}):
                    await asyncio.gather(
                        *(child.start() for child in self._children.values() if child.spec.stage == stage)
                    )
        # Where an earlier stage is not ready, the later ones are started all the same and wait for it themselves.
        for child in self._children.values():
            child.apply(restart.Happening.START)
        _tell(lambda: self._watch.started(self.status()))

    async def _stop_all(self) -> None:
        for stage in sorted({child.spec.stage for child in self._children.values()}, reverse=True):
            await asyncio.gather(*(child.stop() for child in self._children.values() if child.spec.stage == stage))
        for child in self._children.values():
            await child.close()


def _tell(told: Callable[[], None]) -> None:
    """Whoever watches may write to a full disk, or be gone: the system goes on."""
    with contextlib.suppress(OSError):
        told()


@contextlib.asynccontextmanager
async def _only_one(data_dir: Path, clock: clocks.Clock) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(hosting.locked(data_dir, NAME, clock, wait_s=0.0))
        except hosting.AlreadyRunsError as error:
            raise hosting.AlreadyRunsError(
                f"Sixfold runs already on {data_dir}, held by pid {error.holder}; "
                "stop it with `sixfold down`, or choose another --data-dir",
                holder=error.holder,
            ) from error
        yield


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
