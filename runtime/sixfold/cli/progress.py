"""How the start of the system is shown: a live table on a terminal, a line per change elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

from sixfold.cli import control
from sixfold.supervisor.control import SystemStatus


class Starting:
    """A `tree.Watch` that draws on `console`; calls `started` once everything is up. Use as a context manager."""

    def __init__(self, console: Console, *, started: Callable[[SystemStatus], None]) -> None:
        self._console = console
        self._started = started
        self._live: Live | None = None
        self._states: dict[str, str] = {}
        self._up = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(Spinner("dots", "opening the bus"), console=self._console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()

    def changed(self, status: SystemStatus) -> None:
        """A process came into another state."""
        if self._live is not None:
            ready = sum(process.state == "running" for process in status.processes)
            spinner = Spinner("dots", f"{ready} of {len(status.processes)} processes ready")
            self._live.update(Group(control.table_of(status), spinner))
        for process in status.processes:
            if self._states.get(process.name) != process.state:
                self._states[process.name] = process.state
                if self._live is None and (process.state != "stopped" or self._up):
                    self._say(process.name, process.state, process.reason if process.state == "waiting" else "")

    def started(self, status: SystemStatus) -> None:
        """Everything that can be ready is."""
        self._end_live()
        self._up = True
        self._started(status)

    def stopping(self) -> None:
        """The system was asked to stop."""
        self._end_live()
        self._up = True
        self._console.print("stopping; once more stops at once")

    def _say(self, name: str, state: str, reason: str) -> None:
        tail = f": {escape(reason)}" if reason else ""
        self._console.print(f"{escape(name)} {state}{tail}", highlight=False, soft_wrap=True)

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
