"""`sixfold dlq`: the records that functions could not handle, as they were, and why; sent back, or put away."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from sixfold import bus, dead_letter, redriving
from sixfold import errors as failures
from sixfold.cli import common, reading, records, streaming
from sixfold_events import cloudevents

app = typer.Typer(
    help="Look at records that functions could not handle; send them back to them, or put them away.",
    no_args_is_help=True,
)


@app.command()
def ls(
    ctx: typer.Context,
    function: Annotated[str | None, typer.Argument(help="Of this function alone.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those too that were redriven or dropped.")] = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List dead letters, oldest first, with what went wrong.

    Example:  sixfold dlq ls pipeline.start
    """
    common.run(_list(ctx, function, everything=everything, as_json=as_json))


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


NumbersArgument = Annotated[
    list[int] | None, typer.Argument(min=0, help="Numbers in `dlq ls`; --all takes every one.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="Every letter that was not taken yet.")]


@app.command()
def redrive(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(help="The function that could not handle them.")],
    numbers: NumbersArgument = None,
    everything: AllOption = False,
    rate: Annotated[float, typer.Option(min=0.1, help="Letters a second, at most.")] = redriving.RATE_PER_S,
    redrives_max: Annotated[
        int, typer.Option(min=1, help="Leave letters alone that came back so often.")
    ] = redriving.REDRIVES_MAX,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Send dead letters back to the one function that failed, as they came; nobody else gets them again.

    Example:  sixfold dlq redrive pipeline.start --all --rate 20
    """
    wanted = _wanted(function, numbers, everything=everything)
    done = common.run(_redrive(ctx, function, wanted, rate=rate, redrives_max=redrives_max, quiet=as_json))
    data = {"function": function, "redriven": done.sent, "looping": done.looping}
    text = f"{len(done.sent)} letters were sent back to {function}"
    if done.looping:
        shown = ", ".join(map(str, done.looping[:10]))
        text += f"; {len(done.looping)} came back {redrives_max} times or more and were left alone ({shown})"
    common.show(data, as_json=as_json, render=lambda: escape(text))


@app.command()
def drop(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(help="The function that could not handle them.")],
    numbers: NumbersArgument = None,
    everything: AllOption = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Put dead letters away: they are not listed or redriven any more. Their bytes stay in the topic.

    Example:  sixfold dlq drop pipeline.start 3 4
    """
    wanted = _wanted(function, numbers, everything=everything)
    dropped = common.run(_drop(ctx, function, wanted))
    data = {"function": function, "dropped": dropped}
    common.show(data, as_json=as_json, render=lambda: f"{len(dropped)} letters were put away")


def _wanted(function: str, numbers: list[int] | None, *, everything: bool) -> set[int] | None:
    if everything == bool(numbers):
        raise failures.UsageError(
            f"expected numbers of letters or --all, not both and not neither; `sixfold dlq ls {function}` lists them"
        )
    return None if everything else set(numbers or ())


async def _redrive(
    ctx: typer.Context, name: str, numbers: set[int] | None, *, rate: float, redrives_max: int, quiet: bool
) -> redriving.Redriven:
    function = common.known(ctx).function(name)
    async with (
        common.process(ctx) as process,
        redriving.DeadLetters(process.require_bus(), function, clock=process.clock) as letters,
    ):
        await _check(letters, name, numbers)
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bar:
            task = bar.add_task(f"redriving to {name}", total=None)
            return await letters.redrive(
                numbers,
                rate_per_s=rate,
                redrives_max=redrives_max,
                progress=lambda count: bar.update(task, completed=count),
            )


async def _drop(ctx: typer.Context, name: str, numbers: set[int] | None) -> list[int]:
    function = common.known(ctx).function(name)
    async with (
        common.process(ctx) as process,
        redriving.DeadLetters(process.require_bus(), function, clock=process.clock) as letters,
    ):
        await _check(letters, name, numbers)
        return await letters.drop(numbers)


async def _check(letters: redriving.DeadLetters, name: str, numbers: set[int] | None) -> None:
    """Raise UsageError for numbers that are none of a letter that waits."""
    if numbers:
        missing = sorted(numbers - {each.number async for each in letters.letters()})
        if missing:
            raise failures.UsageError(
                f"{name} has no dead letter {missing[0]} that waits; `sixfold dlq ls {name}` lists them"
            )


async def _list(ctx: typer.Context, name: str | None, *, everything: bool, as_json: bool) -> None:
    known = common.known(ctx)
    wanted = [known.function(name)] if name else list(known.functions.values())
    async with common.process(ctx) as process:
        opened = process.require_bus()
        topics = await opened.topics()
        with streaming.rows(as_json=as_json, render=_table) as rows:
            for function in wanted:
                if function.dead_letter_topic not in topics:
                    continue
                async with redriving.DeadLetters(opened, function) as letters:
                    async for each in letters.letters(handled=everything):
                        rows.add(_row(each.number, each.letter))


def _row(offset: int, letter: dead_letter.DeadLetter) -> dict[str, Any]:
    return {
        "function": letter.function,
        "offset": offset,
        "topic": letter.topic,
        "partition": letter.partition,
        "original_offset": letter.offset,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
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
            str(row["attempts"]) + (f" (redriven {row['redrives']}x)" if row["redrives"] else ""),
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
