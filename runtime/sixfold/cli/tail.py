"""`sixfold tail`: the events of a topic, decoded."""

from __future__ import annotations

from typing import Annotated

import typer

from sixfold.cli import common, reading, records, registries


def tail(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="A topic; `sixfold topics` lists them.")],
    start: Annotated[
        str, typer.Option("--from", help="earliest, latest, a time (RFC 3339), or Unix milliseconds.")
    ] = "earliest",
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many records.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print the events of a topic, oldest first within a partition, and stop at its present end.

    With --json each is a CloudEvent as one line of JSON; records that cannot be decoded are shown raw.

    Example:  sixfold tail git.pushed --from latest --follow
    """
    common.run(_tail(ctx, topic, start, count, follow=follow or start == "latest", as_json=as_json))


async def _tail(ctx: typer.Context, topic: str, start: str, count: int | None, *, follow: bool, as_json: bool) -> None:
    begin = reading.start_of(start)
    async with common.process(ctx) as process:
        opened = process.require_bus()
        partitions = await reading.partitions_of(opened, topic)
        async for record in reading.read(opened, partitions, start=begin, follow=follow, count=count):
            await registries.prepare(process, record)
            if as_json:
                common.line(records.as_json(record, process.registry))
            else:
                common.console.print(records.as_text(record, process.registry), soft_wrap=True)
