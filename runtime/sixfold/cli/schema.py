"""`sixfold schema`: the frozen schemas of event types: checked and written without any server, compared, registered."""

from __future__ import annotations

import typer
from rich.markup import escape

from sixfold.cli import common, registries, schema_diff, schema_register
from sixfold_events import compatibility

app = typer.Typer(help="Check, freeze, compare and register the schemas of event types.", no_args_is_help=True)


@app.command()
def check(
    ctx: typer.Context,
    folder: registries.FolderOption = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check that every event type is frozen, unchanged, and compatible with all its versions. Exit code 1 if not.

    Example:  sixfold schema check
    """
    where, classes = registries.subject(ctx, folder)
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
    ctx: typer.Context,
    folder: registries.FolderOption = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Write the schema of every version that is not frozen yet; frozen files stay as they are.

    Example:  sixfold schema freeze
    """
    where, classes = registries.subject(ctx, folder)
    written = [str(path) for path in compatibility.freeze(where, classes)]
    common.show(
        written, as_json=as_json, render=lambda: escape("\n".join(written)) or "nothing new: every version is frozen"
    )


app.command()(schema_diff.diff)
app.command()(schema_register.register)
