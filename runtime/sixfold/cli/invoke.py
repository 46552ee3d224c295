"""`sixfold invoke`: one call of one function, as Lambda's tools do. Nothing takes effect unless `--emit`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.markup import escape
from rich.text import Text

from sixfold import errors as failures
from sixfold import running
from sixfold.cli import common, reading, references
from sixfold.function import AnyFunction
from sixfold.lambdas import LambdaFunction, calling
from sixfold.local import invoking
from sixfold.process import Process

EVENT_BYTES_MAX = 16 * 1024 * 1024


def invoke(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(help="A function's name, MODULE:ATTRIBUTE, or FILE.py:ATTRIBUTE.")],
    event: Annotated[
        str | None,
        typer.Option("--event", help="A file with the event's fields or a CloudEvent in JSON, or - for stdin."),
    ] = None,
    position: Annotated[
        str | None, typer.Option("--from", help="That very record of the log: TOPIC:PARTITION:OFFSET.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, max=10_000, help="With --from: so many records from there on, as a list."),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Which type the event is, where the function takes several.")
    ] = None,
    emit: Annotated[bool, typer.Option("--emit", help="Publish what it emits.")] = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Call a function with an event, or with a record of the log; print its result and what it would emit.

    Exit code 1 where it fails. A batch function is given the records of --count in one call.

    Example:  sixfold event new git.pushed | sixfold invoke pipeline.source --event -

    Example:  sixfold invoke pipeline.source --from git.pushed:0:17 --count 3
    """
    if (event is None) == (position is None):
        common.fail(
            failures.UsageError("say with what to call it: either --event FILE or --from TOPIC:PARTITION:OFFSET")
        )
    if position is None and count is not None:
        common.fail(failures.UsageError("--count needs --from: a file holds one event"))
    if position is not None:
        found = common.run(_invoke_from(ctx, function, position, count or 1, emit=emit))
    else:
        found = [common.run(_invoke(ctx, function, event or "-", event_type, emit=emit))]
    common.show(
        found[0] if count is None else found,
        as_json=as_json,
        render=lambda: Group(*(_rendered(each) for each in found)),
    )
    if any(outcome.error is not None for outcome in found):
        raise typer.Exit(1)


async def _invoke(
    ctx: typer.Context, name: str, event: str, event_type: str | None, *, emit: bool
) -> invoking.Invocation:
    function = function_of(ctx, name)
    data = _read(event)
    async with _process(ctx, emit=emit) as process:
        if emit:
            await running.create_topics(process.require_bus(), [function], common.known(ctx).topics_for([function]))
        if isinstance(function, LambdaFunction):
            return await calling.shown(function, data, process)
        return await invoking.invoke(function, data, process=process, event_type=event_type, emit=emit)


async def _invoke_from(
    ctx: typer.Context, name: str, position: str, count: int, *, emit: bool
) -> list[invoking.Invocation]:
    function = function_of(ctx, name)
    place = reading.position_of(position)
    async with common.process(ctx) as process:
        bus = process.require_bus()
        records = await reading.following(bus, place, count)
        if emit:
            await running.create_topics(bus, [function], common.known(ctx).topics_for([function]))
        return await invoking.invoke_from(function, records, process=process, emit=emit)


def function_of(ctx: typer.Context, name: str) -> AnyFunction:
    """The one function that `name` means: an installed one, or a user's own by reference. Raises UsageError."""
    if not references.is_reference(name):
        return common.known(ctx).function(name)
    found = references.functions_in(name)
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise failures.UsageError(f"{name} holds several functions ({names}); name one as {name}:ATTRIBUTE")
    return found[0]


@contextlib.asynccontextmanager
async def _process(ctx: typer.Context, *, emit: bool) -> AsyncIterator[Process]:
    """With the bus where there is one: a call without side effects makes none."""
    chosen = common.settings(ctx)
    if emit or chosen.bus_url != common.BUS_URL or (chosen.data_dir / "bus").exists():
        async with common.process(ctx) as process:
            yield process
        return
    process = Process(name="invoke", data_dir=chosen.data_dir, registry=common.known(ctx).light.registry)
    try:
        yield process
    finally:
        await process.resources.close()


def _read(event: str) -> bytes:
    try:
        if event == "-":
            data = sys.stdin.buffer.read(EVENT_BYTES_MAX + 1)
        else:
            with Path(event).open("rb") as file:
                data = file.read(EVENT_BYTES_MAX + 1)
    except OSError as error:
        raise failures.UsageError(f"{event} cannot be read: {error.strerror}") from error
    if len(data) > EVENT_BYTES_MAX:
        raise failures.UsageError(f"{event} is longer than {EVENT_BYTES_MAX:,} bytes; expected one event")
    return data


def _rendered(outcome: invoking.Invocation) -> Group:
    parts: list[Text | str] = []
    if outcome.position:
        parts.append(f"[bold cyan]{escape(outcome.position)}[/bold cyan]")
    if outcome.error is not None:
        parts.append(f"[bold red]{escape(outcome.error.errorType)}[/bold red]: {escape(outcome.error.errorMessage)}")
        parts.append(Text("\n".join(outcome.error.stackTrace), style="dim"))
        parts.append(f"a worker would {outcome.verdict} it")
    elif outcome.skipped:
        parts.append("a worker would skip it: it is of another type, or the filter keeps it away")
    else:
        parts.append(f"[bold]result[/bold] {escape(_json(outcome.result))}")
        word = "emitted" if outcome.emitted else "would emit"
        parts += [
            f"[bold]{word}[/bold] {escape(output['type'])} to {escape(output['topic'])}: {escape(_json(output['data']))}"
            for output in outcome.outputs
        ]
        if outcome.answer is not None:
            parts.append(
                f"[bold]answer[/bold] {escape(outcome.answer['type'])}: {escape(_json(outcome.answer['data']))}"
            )
        parts += [
            f"[bold]row[/bold] {escape(table)} {escape(key)}: {escape(_json(value))}"
            for table, rows in outcome.tables.items()
            for key, value in rows.items()
        ]
        parts += [_timer(timer) for timer in outcome.timers]
    parts.append(f"[dim]{escape(outcome.function)} took {outcome.duration_ms:.1f} ms[/dim]")
    return Group(*parts)


def _timer(timer: dict[str, Any]) -> str:
    name = escape(timer["name"] or "(without a name)")
    if timer["at"] is None:
        return f"[bold]timer[/bold] {name} is taken away"
    return f"[bold]timer[/bold] {name} at {timer['at']}: {escape(timer['type'])} {escape(_json(timer['data']))}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
