"""`sixfold shadow`: a new version of a function on live traffic, compared with the one that runs, without any effect."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import signal
from typing import Annotated, Any

import typer
from rich.text import Text

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold import errors as failures
from sixfold.cli import common, invoke, references
from sixfold.cli import replay as replaying
from sixfold.function import AnyFunction
from sixfold.local import shadowing
from sixfold.local.differences import Difference
from sixfold.process import Process

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")


def shadow(
    ctx: typer.Context,
    new: Annotated[str, typer.Argument(help="The new version: MODULE:FUNCTION or FILE.py:FUNCTION.")],
    against: Annotated[str, typer.Option("--against", help="Name of the function that runs.")],
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Stop after so many records were compared.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="Stop after so long.")] = None,
    identifier: Annotated[
        str | None, typer.Option("--id", help="Its group is NAME.shadow.ID.", show_default="the time")
    ] = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Give a new version of a function the live traffic of the one that runs; report where it would emit otherwise.

    It publishes, stores and commits nothing. Goes on until --count, --seconds or Ctrl-C; exit code 1 on a difference.

    Example:  sixfold shadow examples/01-minimal/orders.py:accept --against accept --count 1000
    """
    if not references.is_reference(new):
        common.fail(failures.UsageError(f"{new} is no new version; name FILE.py:FUNCTION or MODULE:FUNCTION"))
    if identifier is not None and not IDENTIFIER.fullmatch(identifier):
        common.fail(failures.UsageError(f"--id {identifier!r}: expected letters, digits, - and _, 64 at most"))
    version = invoke.function_of(ctx, new)
    report = common.run(_shadow(ctx, version, against, count, seconds, identifier, as_json=as_json))
    told = {name: getattr(report, name) for name in ("handled", "compared", "skipped", "differing", "waiting")}
    common.show(
        {"function": against, **told, "differences": report.differences},
        as_json=as_json,
        render=lambda: _summary(told),
    )
    if report.differing:
        raise typer.Exit(1)


async def _shadow(
    ctx: typer.Context,
    new: AnyFunction,
    against: str,
    count: int | None,
    seconds: float | None,
    identifier: str | None,
    *,
    as_json: bool,
) -> shadowing.Report:
    known = common.known(ctx)
    # A function that nobody here knows has the declaration of its new version, under its own name.
    running = known.functions.get(against) or dataclasses.replace(new, name=against)
    registry = catalogue.installed([running, new, *known.own]).registry
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if seconds is not None:
        loop.call_later(seconds, stopping.set)
    async with common.process(ctx) as opened:
        process = Process(name="shadow", data_dir=opened.data_dir, registry=registry, bus=opened.bus)
        name = identifier or shadowing.suffix(clocks.SystemClock())
        each = shadowing.Shadow(
            new,
            running,
            process,
            identifier=name,
            begins=lambda: common.errors.print(f"shadow: {each.group} compares", highlight=False, soft_wrap=True),
            differs=lambda found: None if as_json else _tell(found),
        )
        try:
            return await each.run(stopping, count=count)
        finally:
            await process.resources.close()


def _tell(difference: Difference) -> None:
    common.draw(replaying.one(difference))


def _summary(told: dict[str, Any]) -> Text:
    text = Text(f"{told['compared']:,} records compared: ")
    if told["differing"]:
        text.append(f"{told['differing']:,} differ", style="bold red")
    else:
        text.append("no difference", style="green")
    if told["waiting"]:
        text.append(f"; {told['waiting']:,} more were not handled by the running version yet")
    return text
