"""`sixfold schema`: the frozen schemas of event types, checked and written without any server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sixfold import catalogue
from sixfold.cli import common
from sixfold_events import Event, compatibility

app = typer.Typer(help="Check and freeze the schemas of event types.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="Where schemas are frozen.", show_default="schemas/ beside your app, else Sixfold's"),
]


@app.command()
def check(
    ctx: typer.Context, folder: FolderOption = None, apps: common.AppOption = None, as_json: common.JsonOption = False
) -> None:
    """Check that every event type is frozen, unchanged, and compatible with all its versions. Exit code 1 if not.

    Example:  sixfold schema check
    """
    where, classes = _subject(ctx, folder)
    problems = compatibility.check(where, classes)
    rows = [{"type": each.event_type, "path": str(each.path), "message": each.message} for each in problems]
    common.show(
        rows,
        as_json=as_json,
        render=lambda: (
            "\n".join(
                f"[red]{escape(row['type'])}[/red] {escape(row['path'])}: {escape(row['message'])}" for row in rows
            )
            or f"{len(classes)} event types are frozen and compatible"
        ),
    )
    if problems:
        raise typer.Exit(1)


@app.command()
def freeze(
    ctx: typer.Context, folder: FolderOption = None, apps: common.AppOption = None, as_json: common.JsonOption = False
) -> None:
    """Write the schema of every version that is not frozen yet; frozen files stay as they are.

    Example:  sixfold schema freeze
    """
    where, classes = _subject(ctx, folder)
    written = [str(path) for path in compatibility.freeze(where, classes)]
    common.show(
        written, as_json=as_json, render=lambda: escape("\n".join(written)) or "nothing new: every version is frozen"
    )


def _subject(ctx: typer.Context, folder: Path | None) -> tuple[Path, list[type[Event]]]:
    """The folder, and the classes whose schemas belong there: those of --app where there are any, else all."""
    known = common.known(ctx)
    if not known.own:
        return folder or catalogue.SCHEMAS, list(known.events.values())
    installed = set(catalogue.installed().events.values())
    own = [cls for cls in known.events.values() if cls not in installed]
    place = common.settings(ctx).apps[0].partition(":")[0]
    beside = Path(place).absolute().parent if place.endswith(".py") else Path.cwd()
    return folder or beside / "schemas", own
