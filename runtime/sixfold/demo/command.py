"""`sixfold demo`: the steps with their progress on the terminal, and a summary at the end."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sixfold import clock as clocks
from sixfold import errors
from sixfold.cli import common
from sixfold.demo import steps
from sixfold.demo.shell import Shell, StepError

FOLDER = "demo"


class Line(msgspec.Struct, frozen=True):
    """One line of the summary."""

    step: str
    took_s: float
    what: str
    look: str


def command(
    ctx: typer.Context,
    repository: Annotated[
        Path, typer.Option(help="A working copy with a pipeline.yaml; its whole history is pushed.")
    ] = Path(),
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes a free one.")] = 0,
    as_json: common.JsonOption = False,
) -> None:
    """Show the whole system at work: a push that is built and deployed, a write that outlives a zone, a data key.

    It runs in a folder of its own below the data folder, made anew each time, and stops what it started.

    Example: [bold]sixfold demo[/bold], or on Kafka: [bold]sixfold --bus kafka://127.0.0.1:9092 demo[/bold]
    """
    settings = common.settings(ctx)
    shell = Shell(settings.data_dir / FOLDER, settings.bus_url, repository.absolute())
    if not (shell.repository / "pipeline.yaml").exists():
        common.fail(
            errors.UsageError(f"{shell.repository} has no pipeline.yaml; name a working copy with --repository")
        )
    lines = common.run(_demonstrate(shell, port))
    common.show(lines, as_json=as_json, render=lambda: _table(lines, shell))


async def _demonstrate(shell: Shell, port: int) -> list[Line]:
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C ends the step that runs; what was started is stopped all the same.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    shutil.rmtree(shell.data_dir, ignore_errors=True)
    demo = steps.Demo(shell, port=port)
    clock = clocks.SystemClock()
    lines: list[Line] = []
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, TextColumn("[dim]{task.fields[said]}"), console=common.errors) as progress:
            for step in steps.STEPS:
                shown = progress.add_task(step.title, total=1, said="")
                begun = clock.monotonic()

                def say(text: str, shown: object = shown) -> None:
                    progress.update(shown, said=escape(text.splitlines()[0][:100] if text else ""))  # type: ignore[arg-type]

                try:
                    seen = await step.run(demo, say)
                except errors.SixfoldError as error:
                    raise StepError(f"{step.title}: {error}") from error
                lines.append(Line(step.title, round(clock.monotonic() - begun, 1), seen.what, seen.look))
                progress.update(shown, completed=1, said=seen.what)
    finally:
        await asyncio.shield(asyncio.ensure_future(steps.clean_up(demo)))
    return lines


def _table(lines: list[Line], shell: Shell) -> Table:
    table = Table("what", "took", "seen", "where to look", title="Sixfold at work")
    for line in lines:
        table.add_row(line.step, f"{line.took_s:.1f} s", line.what, line.look)
    table.add_section()
    table.add_row(
        "in all",
        f"{sum(line.took_s for line in lines):.1f} s",
        "",
        f"start it again: sixfold --data-dir {shell.data_dir} up",
    )
    return table
