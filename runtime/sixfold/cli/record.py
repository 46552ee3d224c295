"""`sixfold record`: what a function was given and what it made of it, or records of a topic, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sixfold import bus
from sixfold import errors as failures
from sixfold.cli import common, invoke, reading
from sixfold.function import AnyFunction
from sixfold.local import captures, capturing

COUNT = 10_000


def record(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help="A function's name, MODULE:ATTRIBUTE, or FILE.py:ATTRIBUTE.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file; it must not be there yet.")] = Path("capture.ndjson"),
    topic: Annotated[str | None, typer.Option("--topic", help="Records of this topic, of no function.")] = None,
    start: Annotated[
        str,
        typer.Option("--from", help="earliest, committed (where the function is), a time, or TOPIC:PARTITION:OFFSET."),
    ] = "earliest",
    count: Annotated[int, typer.Option("--count", min=1, max=captures.RECORDS_MAX, help="Records at most.")] = COUNT,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Write what a function was given, what it emitted and what its tables hold to a file for `sixfold replay`.

    The file holds the events as they are, secrets too: only you can read it.

    Example:  sixfold record pipeline.source --out pushes.ndjson
    """
    if (name is None) == (topic is None):
        common.fail(failures.UsageError("say what to record: either a function's name or --topic TOPIC"))
    if out.exists():  # rather now than after the work
        common.fail(captures.CaptureError(f"{out} exists; a capture is never written over a file: choose another name"))
    function = invoke.function_of(ctx, name) if name is not None else None
    capture, size = common.run(_record(ctx, function, topic or "", start, count, out))
    summary = {
        "file": str(out),
        "bytes": size,
        "function": capture.head.function,
        "records": len(capture.records),
        "outputs": len(capture.outputs),
        "parked": len(capture.letters),
        "rows": len(capture.rows),
        "schemas": len(capture.schemas),
    }
    told = (
        f"{len(capture.records):,} records, {len(capture.outputs):,} outputs, {len(capture.rows):,} rows: "
        f"{out}, {size:,} bytes"
    )
    common.show(summary, as_json=as_json, render=lambda: told)


async def _record(
    ctx: typer.Context, function: AnyFunction | None, topic: str, start: str, count: int, out: Path
) -> tuple[captures.Capture, int]:
    async with common.process(ctx) as process:
        opened = process.require_bus()
        if function is not None:
            partitions = await capturing.sources_of(opened, function)
        else:
            partitions = await reading.partitions_of(opened, topic)
        if not partitions:
            raise failures.UsageError("there is nothing to record: none of the function's topics exists yet")
        starts = await _starts(opened, partitions, start, function)
        capture = await capturing.capture(process, function, starts, count=count)
        return capture, captures.write(capture, out)


async def _starts(
    opened: bus.Bus, partitions: list[bus.TopicPartition], text: str, function: AnyFunction | None
) -> dict[bus.TopicPartition, int]:
    ranges = {tp: await opened.offsets(tp) for tp in partitions}
    if text == "committed":
        if function is None:
            raise failures.UsageError(
                "--from committed needs a function; a topic is read from earliest, or from a time"
            )
        committed = await opened.committed(function.name)
        return {tp: max(each.start, committed.get(tp, 0)) for tp, each in ranges.items()}
    if text.count(":") == 2 and text.rpartition(":")[2].isdecimal() and "T" not in text:
        position = reading.position_of(text)
        tp = bus.TopicPartition(position.topic, position.partition)
        if tp not in ranges:
            raise failures.UsageError(f"--from {text}: that is none of the partitions to record; see `sixfold topics`")
        return {tp: max(ranges[tp].start, min(position.offset, ranges[tp].end))}
    start = reading.start_of(text)
    if start.at == "timestamp":
        return {tp: await opened.offset_at(tp, start.timestamp_ms) for tp in partitions}
    return {tp: each.start if start == bus.EARLIEST else each.end for tp, each in ranges.items()}
