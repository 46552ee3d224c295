"""What a process of the system is given: its folders, its bus, its clock, and the word to stop.

`Process` goes to services, `Resources` holds what the functions of one process share (an opened keyring, a
repository store), opened at first use and closed at the end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.telemetry import tracing
from sixfold_events.registry import Registry

T = TypeVar("T")


@dataclass(kw_only=True)
class Process:
    """One running process. Services get it as their argument."""

    name: str
    """Such as `volume.storage.a1`; unique in the system."""
    data_dir: Path
    """The system's data folder; a service keeps its files in a folder of its own below it."""
    registry: Registry
    """Schemas and event classes of every installed capability."""
    clock: clocks.Clock = field(default_factory=clocks.SystemClock)
    bus: port.Bus | None = None
    """Entered already; None for a service that declares `bus=False`."""
    parents_bus_url: str = ""
    """Where the bus of the parent is, in a process that only calls a handler and has none itself."""
    member: str | None = None
    """A name that stays over restarts, which no other process has: its groups know it by that (static membership)."""
    tracing: tracing.Tracing | None = field(default_factory=tracing.current)
    """OpenTelemetry spans, where they are configured."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The service's own options, such as {"copy": "a1"}."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is asked to stop; finish what is under way, then return."""
    ready: Callable[[], None] = lambda: None
    """Call it once the process serves: the supervisor then counts it as ready. Calling it again does nothing."""
    finished: bool = False
    """Set by a service that returns for good, as nothing is left for it to do: its supervisor does not start it again."""
    resources: Resources = field(init=False)

    def __post_init__(self) -> None:
        self.resources = Resources(self)

    @property
    def bus_url(self) -> str:
        """Where the bus is; empty where there is none."""
        return self.parents_bus_url if self.bus is None else self.bus.url

    def require_bus(self) -> port.Bus:
        """The bus, for services that declared that they need it."""
        assert self.bus is not None, f"{self.name} has no bus"
        return self.bus


class Resources:
    """Things that are opened once per process and shared by its functions."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._opened: dict[Any, Any] = {}
        # One lock an opener: an opener may ask for what another opener opens.
        self._locks: dict[Any, asyncio.Lock] = {}

    @overload
    async def get(self, opener: Callable[[Process], Coroutine[Any, Any, T]]) -> T: ...

    @overload
    async def get(self, opener: Callable[[Process], T]) -> T: ...

    async def get(self, opener: Callable[[Process], Any]) -> Any:
        """What `opener(process)` returned (awaited if need be), opened at the first call and kept."""
        if opener not in self._opened:
            async with self._locks.setdefault(opener, asyncio.Lock()):
                if opener not in self._opened:
                    value = opener(self._process)
                    self._opened[opener] = await value if inspect.isawaitable(value) else value
        return self._opened[opener]

    async def close(self) -> None:
        """Close what has a `close` method (plain or async), newest first."""
        for value in reversed(list(self._opened.values())):
            close = getattr(value, "close", None)
            if close is not None:
                result = close()
                if inspect.isawaitable(result):
                    await result
        self._opened.clear()
