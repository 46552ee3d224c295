"""`sixfold dlq`: the records that functions could not handle, as they were, and why."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from sixfold import bus, dead_letter
from sixfold import errors as failures
from sixfold.cli import common, reading, records, streaming
from sixfold_events import cloudevents

app = typer.Typer(help="Look at records that functions could not handle.", no_args_is_help=True)


@app.command()
def ls(
    ctx: typer.Context,
    function: Annotated[str | None, typer.Argument(help="Of this function alone.", show_default=False)] = None,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List dead letters, oldest first, with what went wrong.

    Example:  sixfold dlq ls pipeline.start
    """
    common.run(_list(ctx, function, as_json=as_json))


@app.command()
def show(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(help="The function that could not handle it.")],
    offset: Annotated[int, typer.Argument(min=0, help="Its number in `dlq ls`.")],
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show one dead letter with its event, its bytes and the error's stack.

    Example:  sixfold dlq show pipeline.start 0
    """
    found = common.run(_show(ctx, function, offset))
    common.show(found, as_json=as_json, render=lambda: _details(found))


async def _list(ctx: typer.Context, name: str | None, *, as_json: bool) -> None:
    known = common.known(ctx)
    wanted = [known.function(name)] if name else list(known.functions.values())
    async with common.process(ctx) as process:
        opened = process.require_bus()
        topics = await opened.topics()
        with streaming.rows(as_json=as_json, render=_table) as rows:
            for function in wanted:
                if function.dead_letter_topic not in topics:
                    continue
                partitions = await reading.partitions_of(opened, function.dead_letter_topic)
                letters = reading.read(opened, partitions, start=bus.EARLIEST, follow=False)
                async for record in letters:
                    rows.add(_row(record.offset, dead_letter.read(record)))


def _row(offset: int, letter: dead_letter.DeadLetter) -> dict[str, Any]:
    return {
        "function": letter.function,
        "offset": offset,
        "topic": letter.topic,
        "partition": letter.partition,
        "original_offset": letter.offset,
        "attempts": letter.attempts,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "type": cloudevents.attributes_of(letter.headers).type,
    }


def _table(rows: list[dict[str, Any]]) -> Table | str:
    if not rows:
        return "no dead letters"
    table = Table("Function", "Number", "Came from", "Type", "Attempts", "Error")
    for row in rows:
        table.add_row(
            escape(row["function"]),
            str(row["offset"]),
            escape(f"{row['topic']}:{row['partition']}:{row['original_offset']}"),
            escape(row["type"]),
            str(row["attempts"]),
            escape(f"{row['error_type'].removeprefix('builtins.')}: {row['error_message']}"),
        )
    return table


async def _show(ctx: typer.Context, name: str, offset: int) -> dict[str, Any]:
    function = common.known(ctx).function(name)
    async with common.process(ctx) as process:
        opened = process.require_bus()
        partitions = []
        if function.dead_letter_topic in await opened.topics():
            partitions = await reading.partitions_of(opened, function.dead_letter_topic)
        record = await reading.at(opened, partitions, offset)
        if record is None:
            raise failures.UsageError(f"{name} has no dead letter {offset}; `sixfold dlq ls {name}` lists them")
        letter = dead_letter.read(record)
        original = bus.Record(
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            timestamp_ms=max(letter.timestamp_ms, 0),
            key=letter.key,
            value=letter.value,
            headers=letter.headers,
        )
        return {
            **_row(record.offset, letter),
            "event": records.as_json(original, process.registry),
            "value_base64": base64.b64encode(letter.value or b"").decode(),
            "error_stack": letter.error_stack,
        }


def _details(found: dict[str, Any]) -> str:
    event = msgspec.json.format(msgspec.json.encode(found["event"]), indent=2).decode()
    place = f"{found['topic']}:{found['partition']}:{found['original_offset']}"
    return (
        f"[bold]{escape(found['function'])}[/bold] could not handle {escape(place)} in {found['attempts']} attempts\n"
        f"{escape(event)}\n{escape(found['error_stack'])}"
    )
