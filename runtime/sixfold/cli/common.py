"""What every verb uses: settings, running a coroutine with clear errors, a process with an open bus, output.

A capability's `commands.py` imports this and nothing else of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
import structlog
import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from sixfold import catalogue, system
from sixfold import errors as failures
from sixfold.bus import opening
from sixfold.cli import references
from sixfold.process import Process
from sixfold.telemetry import logs, tracing

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

DATA_DIR = Path(".sixfold")
BUS_URL = "embedded:"
WIDE = 240
"""Columns of output that goes to no terminal."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        leave_quietly()


console = _Console()
"""Standard output: what was asked for."""
errors = _Console(stderr=True)
"""Standard error: progress, warnings, errors."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]


def _add_apps(ctx: typer.Context, apps: list[str] | None) -> list[str] | None:
    if apps:
        chosen = settings(ctx)
        ctx.find_root().obj = replace(chosen, apps=(*chosen.apps, *apps))
    return apps


AppOption = Annotated[
    list[str] | None,
    typer.Option("--app", callback=_add_apps, help="Your own functions; as the global option."),
]
"""`--app` after the verb. Its callback puts it into the settings, where `known` sees it."""


@dataclass(frozen=True)
class Settings:
    """What the global options and the environment say."""

    data_dir: Path = DATA_DIR
    """Where the system keeps everything; `--data-dir` or SIXFOLD_DATA_DIR."""
    bus_url: str = BUS_URL
    """`embedded:` or `kafka://HOST:PORT`; `--bus`, SIXFOLD_BUS, or what the running system recorded."""
    apps: tuple[str, ...] = ()
    """A user's own apps, each `module:attribute` or a file; `--app` or SIXFOLD_APP."""


def resolved(data_dir: Path | None, bus_url: str | None, apps: Sequence[str] = ()) -> Settings:
    """Settings from the global options; what is None comes from the running system's record, else the default."""
    folder = (data_dir or DATA_DIR).absolute()
    if bus_url is None:
        recorded = system.read(folder)
        bus_url = recorded.bus_url if recorded else BUS_URL
    return Settings(folder, bus_url, tuple(apps))


def settings(ctx: typer.Context) -> Settings:
    """The settings of this call."""
    found = ctx.find_root().obj
    return found if isinstance(found, Settings) else resolved(None, None)


def known(ctx: typer.Context) -> catalogue.Catalogue:
    """Everything that is installed, and the functions of `--app`."""
    functions = [function for app in settings(ctx).apps for function in references.functions_in(app)]
    return catalogue.installed(functions)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on uvloop. A SixfoldError becomes one message and exit code 1, a UsageError exit code 2."""
    import uvloop

    if not structlog.is_configured():
        logs.to_terminal(level=logging.WARNING, everything=False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(coroutine)
    except BrokenPipeError:
        leave_quietly()
    except Exception as error:
        expected = as_failure(error)
        if expected is None:
            raise
        fail(expected)


def leave_quietly() -> NoReturn:
    """Whoever read our output has gone (`| head`): end as a program that SIGPIPE ended, without a word."""
    # What is still buffered goes nowhere, or the interpreter would complain at its exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise typer.Exit(141)


def as_failure(error: BaseException) -> failures.SixfoldError | None:
    """`error` as one of ours: unwrapped from groups of one, or a gateway that does not answer; None for a bug."""
    error = cause(error)
    if isinstance(error, failures.SixfoldError):
        return error
    httpx_module = sys.modules.get("httpx")
    if httpx_module is not None and isinstance(error, httpx_module.TransportError):
        return failures.SixfoldError(
            f"the gateway does not answer ({error or type(error).__name__}); is the system up? see `sixfold status`"
        )
    return None


def cause(error: BaseException) -> BaseException:
    """`error` itself, or the one that a group (of a group) holds alone."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def fail(error: failures.SixfoldError) -> NoReturn:
    """Print `error` and leave with its exit code."""
    say(error)
    raise typer.Exit(exit_code(error))


def say(error: failures.SixfoldError) -> None:
    """Print `error` to standard error."""
    errors.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)


def exit_code(error: failures.SixfoldError) -> int:
    """2 for a UsageError, 1 for any other."""
    return 2 if isinstance(error, failures.UsageError) else 1


@contextlib.asynccontextmanager
async def process(ctx: typer.Context) -> AsyncIterator[Process]:
    """A process with the bus entered and the registry of all capabilities."""
    chosen = settings(ctx)
    registry = known(ctx).light.registry
    chosen.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    tracing.configure(os.environ, "cli")
    async with opening.open_bus(chosen.bus_url, data_dir=chosen.data_dir) as bus:
        this = Process(name="cli", data_dir=chosen.data_dir, registry=registry, bus=bus)
        try:
            yield this
        finally:
            await this.resources.close()


def show(data: Any, *, as_json: bool, render: Callable[[], RenderableType]) -> None:
    """Print `data` as one JSON document (anything msgspec encodes; bytes as base64), or what `render` returns."""
    if as_json:
        line(data)
    else:
        draw(render())


def draw(rendered: RenderableType) -> None:
    """Print what a person reads so that all of it can be copied: nothing is cut off, and text has no breaks of ours."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE  # a file and a pipe have no width to keep to
    if isinstance(rendered, Table):
        for column in rendered.columns:
            if not column.no_wrap:
                column.overflow = "fold"
    console.print(rendered, soft_wrap=isinstance(rendered, str))


def line(data: Any) -> None:
    """Print `data` as one line of JSON, unwrapped and uncoloured."""
    sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
    sys.stdout.flush()


async def gateway_client(ctx: typer.Context) -> httpx.AsyncClient:
    """A client of the running gateway with the bootstrap credential; use it as an async context manager.

    Raises UsageError where no gateway was started on the data folder.
    """
    import httpx

    from sixfold.gateway import credentials

    chosen = settings(ctx)
    recorded = system.read(chosen.data_dir)
    if recorded is None:
        raise failures.UsageError(f"no gateway runs on {chosen.data_dir}; start it with `sixfold up`")
    bearer = credentials.token(chosen.data_dir / credentials.FOLDER / credentials.BOOTSTRAP)
    return httpx.AsyncClient(
        base_url=recorded.gateway_url, headers={"Authorization": f"Bearer {bearer}"}, timeout=60.0, trust_env=False
    )
