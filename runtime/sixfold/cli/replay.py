"""`sixfold replay`: a function against a capture, without any bus; exit code 1 where it comes out otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.text import Text

from sixfold import catalogue
from sixfold import errors as failures
from sixfold.cli import common, invoke
from sixfold.local import captures, differences, replaying

SHOWN_MAX = 50
"""Differences that are printed; --json has all."""


def replay(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A capture that `sixfold record` made.")],
    name: Annotated[str, typer.Argument(help="A function's name, MODULE:ATTRIBUTE, or FILE.py:ATTRIBUTE.")],
    expect: Annotated[
        Path | None, typer.Option("--expect", help="Compare with this file instead of what was recorded.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write what came out to the file of --expect.")] = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run a function against recorded events and compare outputs, rows and timers. Exit code 1 on a difference.

    It needs no bus and changes nothing; time is that of the records.

    Example:  sixfold replay pushes.ndjson pipeline.source

    Example:  sixfold replay pushes.ndjson pipeline.source --expect expected.json --update
    """
    if update and expect is None:
        common.fail(failures.UsageError("--update needs --expect: it says which file to write"))
    found, report = common.run(_replay(ctx, file, name, expect, update=update))
    common.show(report, as_json=as_json, render=lambda: Group(_summary(report), *drawn(found)))
    if found:
        raise typer.Exit(1)


async def _replay(
    ctx: typer.Context, file: Path, name: str, expect: Path | None, *, update: bool
) -> tuple[list[differences.Difference], dict[str, Any]]:
    function = invoke.function_of(ctx, name)
    capture = captures.read(file)
    registry = catalogue.installed([function, *common.known(ctx).own]).registry
    done = await replaying.replay(capture, function, registry)
    compared = len(done.outcomes)
    found: list[differences.Difference] = []
    if update and expect is not None:
        differences.write(expect, differences.expectation(function.name, done))
    elif expect is not None:
        found = differences.with_expected(differences.read(expect), done)
    else:
        found, compared = differences.with_recorded(capture, done, registry)
    report = {
        "function": function.name,
        "records": len(done.outcomes),
        "compared": compared,
        "updated": str(expect) if update else None,
        "notes": done.notes,
        "differences": found,
    }
    return found, report


def _summary(report: dict[str, Any]) -> Text:
    text = Text()
    for note in report["notes"]:
        text.append(f"note: {note}\n", style="yellow")
    if report["updated"]:
        return text.append(f"{report['records']:,} records replayed; what came out is in {report['updated']}")
    count = len(report["differences"])
    text.append(f"{report['records']:,} records replayed, {report['compared']:,} compared: ")
    return text.append(f"{count:,} differences" if count else "no difference", style="bold red" if count else "green")


def drawn(found: Sequence[differences.Difference]) -> list[Text]:
    """Differences for a person: where, then what is missing and what came instead."""
    lines = [one(each) for each in found[:SHOWN_MAX]]
    if len(found) > SHOWN_MAX:
        lines.append(Text(f"… and {len(found) - SHOWN_MAX:,} more; --json prints all"))
    return lines


def one(difference: differences.Difference) -> Text:
    """One difference."""
    text = Text(f"{difference.where or 'in the end'}", style="bold cyan")
    text.append(f" {difference.what}", style="bold")
    for sign, items, style in (("-", difference.expected, "red"), ("+", difference.found, "green")):
        for item in items:
            text.append(f"\n  {sign} {msgspec.json.encode(item).decode()}", style=style)
    return text
