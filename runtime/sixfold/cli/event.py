"""`sixfold event`: which event types there are, and a sample of one to start from."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from sixfold import json_events
from sixfold.cli import common, sampling
from sixfold_events import Event

app = typer.Typer(help="Event types and samples.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def types(ctx: typer.Context, apps: common.AppOption = None, as_json: common.JsonOption = False) -> None:
    """List every event type with its topic and its fields.

    Example:  sixfold event types --json
    """
    rows = [_row(cls) for _, cls in sorted(common.known(ctx).events.items())]
    common.show(rows, as_json=as_json, render=lambda: _table(rows))


@app.command()
def new(
    ctx: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as git.pushed.")],
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print a sample event as JSON, to edit and to give to `publish` or `invoke`.

    Example:  sixfold event new git.pushed > event.json
    """
    cls = common.run(_event(ctx, event_type))
    data = sampling.sample(cls)
    json_events.convert(cls, data)
    if as_json or not common.console.is_terminal:
        common.line(data)
    else:
        text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
        common.console.print(Syntax(text, "json", background_color="default"))


async def _event(ctx: typer.Context, event_type: str) -> type[Event]:
    return common.known(ctx).event(event_type)


def _row(cls: type[Event]) -> dict[str, Any]:
    declaration = cls.__event__
    return {
        "type": declaration.type,
        "topic": declaration.topic,
        "key": declaration.key,
        "version": declaration.version,
        "fields": list(cls.__struct_fields__),
        "summary": (cls.__doc__ or "").strip().partition("\n")[0],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("Type", "Topic", "Key", "Fields")
    for row in rows:
        table.add_row(escape(row["type"]), escape(row["topic"]), row["key"] or "", escape(", ".join(row["fields"])))
    return table
