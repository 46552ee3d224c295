"""`sixfold publish`: events from JSON. What does not fit is said before anything is stored."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sixfold import bus, json_events
from sixfold import clock as clocks
from sixfold import errors as failures
from sixfold.cli import common
from sixfold.process import Process
from sixfold_events import Event, cloudevents

CHECKED_BYTES_MAX = 64 * 1024 * 1024
"""An input up to this size is checked to its end before its first event is published; a longer one in pieces of it."""
LINE_BYTES_MAX = 16 * 1024 * 1024
BATCH = 500
SHOWN_MAX = 20
SOURCE = "/cli"


class InputError(failures.UsageError):
    """A line of the input is no event of the type; the message names the line and the field."""


class PublishError(failures.SixfoldError):
    """The bus failed in the middle; the message says which lines are stored."""


def publish(
    ctx: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as git.pushed; `sixfold event types`.")],
    data: Annotated[str | None, typer.Option("--data", help="The event's fields as one JSON object.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="A file with one JSON object a line, or - for standard input.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Publish --data so many times.")] = 1,
    apps: common.AppOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Publish events of one type; each is checked first, and nothing is stored where one does not fit.

    Example:  sixfold event new git.pushed | sixfold publish git.pushed --file -
    """
    positions = common.run(_publish(ctx, event_type, data, file, count))
    common.show(positions, as_json=as_json, render=lambda: _rendered(positions))


async def _publish(
    ctx: typer.Context, event_type: str, data: str | None, file: str | None, count: int
) -> list[dict[str, Any]]:
    known = common.known(ctx)
    cls = known.event(event_type)
    if (data is None) == (file is None):
        raise failures.UsageError(f"give --data JSON or --file FILE; `sixfold event new {event_type}` prints a sample")
    if file is not None and count != 1:
        raise failures.UsageError("--count repeats --data; with --file, repeat the lines")
    spec = known.topic(cls.__event__.topic)
    encoder = _Encoder(cls, spec)
    if data is not None:
        record = encoder.record(data.encode(errors="surrogateescape"), "--data")
        pieces: Iterator[list[tuple[int, bus.NewRecord]]] = _repeated(record, encoder, count)
    else:
        assert file is not None
        pieces = encoder.pieces(file)
    first = next(pieces, [])  # all of it, unless the input is very long: checked before the bus is opened
    async with common.process(ctx) as process:
        if spec is not None and spec.name not in await process.require_bus().topics():
            await process.require_bus().create_topics([spec])
        return await _store(process, first, pieces)


class _Encoder:
    """Lines of one event type as records."""

    def __init__(self, cls: type[Event], spec: bus.TopicSpec | None) -> None:
        self._cls = cls
        self._spec = spec
        self._clock = clocks.SystemClock()

    def record(self, line: bytes, where: str) -> bus.NewRecord:
        """The record of one line. Raises InputError naming `where` and the field."""
        try:
            return self.encoded(json_events.decode(self._cls, line))
        except json_events.EventDataError as error:
            raise InputError(f"{where}: {error}") from error

    def encoded(self, event: Event) -> bus.NewRecord:
        """A record with an id of its own."""
        attributes = cloudevents.Attributes(
            id=uuid.uuid4().hex, type=self._cls.__event__.type, source=SOURCE, time_ms=clocks.now_ms(self._clock)
        )
        return json_events.encode(event, attributes, self._spec)

    def pieces(self, file: str) -> Iterator[list[tuple[int, bus.NewRecord]]]:
        """The records of `file` with their line numbers, in pieces that are each checked whole."""
        if file == "-":
            yield from self._read(sys.stdin.buffer, "standard input")
            return
        try:
            with Path(file).open("rb") as opened:
                yield from self._read(opened, file)
        except OSError as error:
            raise failures.UsageError(f"{file} cannot be read: {error.strerror}") from error

    def _read(self, opened: BinaryIO, name: str) -> Iterator[list[tuple[int, bus.NewRecord]]]:
        piece: list[tuple[int, bus.NewRecord]] = []
        size = number = 0
        while line := opened.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise InputError(f"{name} line {number}: longer than {LINE_BYTES_MAX:,} bytes; one event a line")
            if not line.strip():
                continue
            piece.append((number, self.record(line, f"{name} line {number}")))
            size += len(line)
            if size >= CHECKED_BYTES_MAX:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece


def _repeated(record: bus.NewRecord, encoder: _Encoder, count: int) -> Iterator[list[tuple[int, bus.NewRecord]]]:
    """`count` records with the content of `record`, each an event with an id of its own."""
    for start in range(0, count, 10_000):
        yield [
            (number + 1, record if number == 0 else _again(record))
            for number in range(start, min(count, start + 10_000))
        ]


def _again(record: bus.NewRecord) -> bus.NewRecord:
    fresh = uuid.uuid4().hex.encode()
    headers = [(name, fresh if name in ("ce_id", "ce_correlationid") else value) for name, value in record.headers]
    return bus.NewRecord(
        topic=record.topic, value=record.value, key=record.key, headers=headers, timestamp_ms=record.timestamp_ms
    )


async def _store(
    process: Process,
    first: Sequence[tuple[int, bus.NewRecord]],
    pieces: Iterator[list[tuple[int, bus.NewRecord]]],
) -> list[dict[str, Any]]:
    """Publish piece by piece; the error says exactly which lines are stored."""
    opened = process.require_bus()
    stored: list[dict[str, Any]] = []
    last = 0
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=common.errors, transient=True, disable=len(first) <= BATCH) as progress:
        task = progress.add_task("publishing", total=len(first))
        piece: Sequence[tuple[int, bus.NewRecord]] = first
        while piece:
            for start in range(0, len(piece), BATCH):
                batch = piece[start : start + BATCH]
                try:
                    positions = await opened.publish([record for _, record in batch])
                except bus.BusError as error:
                    raise PublishError(_account(stored, last, batch, error)) from error
                for (_, record), position in zip(batch, positions, strict=True):
                    event_id = cloudevents.attributes_of(record.headers).id
                    stored.append({**position._asdict(), "id": event_id})
                last = batch[-1][0]
                progress.advance(task, len(batch))
            try:
                piece = next(pieces, [])
            except InputError as error:
                raise InputError(f"{error}; {_upto(stored, last)}, the rest is not") from error
            progress.update(task, total=len(stored) + len(piece))
    return stored


def _account(
    stored: list[dict[str, Any]], last: int, batch: Sequence[tuple[int, bus.NewRecord]], error: bus.BusError
) -> str:
    lines = f"{batch[0][0]} to {batch[-1][0]}"
    nothing = isinstance(error, bus.RecordTooLargeError | bus.UnknownTopicError | bus.StorageFullError)
    fate = f"lines {lines} are not" if nothing else f"lines {lines} may be stored or not"
    return f"{error}; {_upto(stored, last)}, {fate}, later ones are not"


def _upto(stored: list[dict[str, Any]], last: int) -> str:
    return f"lines up to {last} are published ({len(stored):,} events)" if stored else "nothing is published"


def _rendered(positions: list[dict[str, Any]]) -> Table | str:
    if len(positions) > SHOWN_MAX:
        topics = {(row["topic"], row["partition"]) for row in positions}
        return f"published {len(positions):,} events to {len(topics)} partitions of {escape(positions[0]['topic'])}"
    if not positions:
        return "nothing to publish: the input is empty"
    table = Table("Position", "Event id")
    for row in positions:
        table.add_row(escape(f"{row['topic']}:{row['partition']}:{row['offset']}"), row["id"])
    return table
