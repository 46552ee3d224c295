"""How the demonstration is shown: live lines on a terminal, a line for each thing elsewhere, and a table at its end."""

from __future__ import annotations

import shlex
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from sixfold import clock as clocks


class Line(msgspec.Struct, frozen=True):
    """One line of the summary."""

    step: str
    took_s: float
    what: str
    look: str


class Showing:
    """Shows steps on `console` as they go. Use as a context manager."""

    def __init__(self, console: Console, clock: clocks.Clock) -> None:
        self._console = console
        self._clock = clock
        self._begun_s = 0.0
        self._task: TaskID | None = None
        # A live display that cannot move the cursor prints nothing until its end.
        self._live = (
            Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[said]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
                console=console,
                expand=True,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, title: str) -> None:
        """A step begins."""
        self._begun_s = self._clock.monotonic()
        if self._live is not None:
            self._task = self._live.add_task(title, total=1, said="")
        else:
            self._print(f"{title} …")

    def say(self, text: str) -> None:
        """Something happens in it."""
        text = next(iter(text.splitlines()), "")
        if self._live is not None and self._task is not None:
            self._live.update(self._task, said=escape(text))
        elif text:
            self._print(f"    {text}")

    def done(self, what: str) -> float:
        """It has ended well; how long it took."""
        took_s = self._clock.monotonic() - self._begun_s
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=1, said=escape(what))
        else:
            self._print(f"    {what} ({took_s:.1f} s)")
        return took_s

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary(lines: Sequence[Line]) -> Table:
    """What was shown, how long each took, where to look."""
    table = Table(
        "what",
        Column("took", no_wrap=True),
        Column("seen", overflow="fold"),
        Column("where to look", overflow="fold"),
        title="Sixfold at work",
    )
    for line in lines:
        table.add_row(line.step, f"{line.took_s:.1f} s", escape(line.what), escape(line.look))
    table.add_section()
    table.add_row("in all", f"{sum(line.took_s for line in lines):.1f} s", "", "")
    return table


def advice(data_dir: Path, bus_url: str) -> str:
    """How to look further: the system that the summary tells of has been stopped."""
    variables = {"SIXFOLD_DATA_DIR": str(data_dir)}
    if bus_url.startswith("kafka://"):
        variables["SIXFOLD_BUS"] = bus_url
    lines = ["It is stopped now. To look further, start it again, then use the commands above:"]
    if shutil.which("sixfold") is None:
        lines.append(f"  export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH")
    lines.append(f"  export {' '.join(f'{name}={shlex.quote(value)}' for name, value in variables.items())}")
    lines.append("  sixfold up --detach    (`sixfold down` ends it)")
    return "\n".join(lines)
