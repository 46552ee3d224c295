"""`sixfold demo`: the steps with their progress on the terminal, and a summary at the end.

However it ends, what it started has ended; the first thing that went wrong is what it says, and its exit code tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sixfold import clock as clocks
from sixfold import errors
from sixfold.cli import common
from sixfold.demo import place, processes, showing, steps
from sixfold.demo.shell import Shell, StepError


def command(
    ctx: typer.Context,
    repository: Annotated[
        Path, typer.Option(help="A working copy with a pipeline.yaml; its whole history is pushed.")
    ] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = 0,
    as_json: common.JsonOption = False,
) -> None:
    """Show the whole system at work: a push that is built and deployed, a write that outlives a zone, a data key.

    It runs in a folder of its own below the data folder and stops what it started. On the embedded bus the folder is
    made anew each time; on Kafka it stays, since the keys and the volume on the cluster need what lies in it.

    Exit codes: 0 all was shown, 1 a step failed, 2 it cannot begin here, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.

    Example: [bold]sixfold demo[/bold], or on Kafka: [bold]sixfold --bus kafka://127.0.0.1:9092 demo[/bold]
    """
    settings = common.settings(ctx)
    folder = place.folder_of(settings.data_dir, settings.bus_url)
    shell = Shell(folder, settings.bus_url, repository.absolute())
    if not (shell.repository / "pipeline.yaml").exists():
        common.fail(
            errors.UsageError(f"{shell.repository} has no pipeline.yaml; name a working copy with --repository")
        )
    lines = common.run(_demonstrate(shell, port))
    common.show(lines, as_json=as_json, render=lambda: showing.summary(lines))
    if not as_json:
        advice = showing.advice(shell.data_dir, shell.bus_url)
        common.console.print(advice, markup=False, highlight=False, soft_wrap=True)


class _Interruption:
    """SIGINT, SIGTERM, SIGHUP: the first one ends the step that runs, so that cleaning up comes next; another kills."""

    def __init__(self, kill: Callable[[], None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._kill = kill
        self.number: int | None = None
        """The first that came."""
        self.cleaning = False
        """From now on a first signal interrupts nothing: what was started is being stopped anyway."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._asked, number)

    def _asked(self, number: int) -> None:
        if self.number is not None:
            self._kill()
            return
        self.number = number
        if not self.cleaning:
            self._task.cancel()

    def check(self) -> None:
        """Raises CancelledError where one came: whatever ran may have ended in the very moment of its cancellation."""
        if self.number is not None:
            raise asyncio.CancelledError


async def _demonstrate(shell: Shell, port: int) -> list[showing.Line]:
    clock = clocks.SystemClock()
    not_ours = frozenset(processes.descendants())
    processes.adopt_orphans()

    def started() -> list[int]:
        return processes.descendants(but=not_ours)

    interruption = _Interruption(lambda: processes.kill(started()))
    lines: list[showing.Line] = []
    failure: BaseException | None = None
    trouble: errors.SixfoldError | None = None
    try:
        with showing.Showing(common.errors, clock) as show:
            await _steps(steps.Demo(shell, port=port), show, interruption, lines)
    except BaseException as error:
        failure = error
    interruption.cleaning = True
    with contextlib.suppress(OSError, typer.Exit):  # whoever read what is printed may have gone
        common.errors.print("Stop what was started …", highlight=False)
    try:
        await shell.stop()
        await processes.end(started, clock)
    except errors.SixfoldError as error:
        trouble = error
    if trouble is not None:
        common.say(trouble)
    if interruption.number is not None:
        with contextlib.suppress(OSError, typer.Exit):
            common.errors.print(f"ended by {signal.Signals(interruption.number).name}")
        raise typer.Exit(128 + interruption.number)
    if failure is not None:
        raise failure
    if trouble is not None:
        raise typer.Exit(common.exit_code(trouble))
    return lines


async def _steps(
    demo: steps.Demo, show: showing.Showing, interruption: _Interruption, lines: list[showing.Line]
) -> None:
    for step in steps.STEPS:
        interruption.check()
        show.begin(step.title)
        try:
            seen = await step.run(demo, show.say)
        except place.PlaceError:
            raise
        except errors.SixfoldError as error:
            more = demo.shell.problem()
            raise StepError(f"{step.title}: {error}{f'; {more}' if more and more not in str(error) else ''}") from error
        lines.append(showing.Line(step.title, round(show.done(seen.what), 1), seen.what, seen.look))
    interruption.check()
