"""`sixfold publish`: events from JSON. What does not fit is said before anything is stored."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Self

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sixfold import bus, json_events
from sixfold import clock as clocks
from sixfold import errors as failures
from sixfold.cli import common, registries, streaming
from sixfold.process import Process
from sixfold_events import Event, cloudevents, framing

CHECKED_BYTES_MAX = 64 * 1024 * 1024
"""An input up to this size is checked to its end before its first event is published; a longer one in pieces of it."""
CHECKED_EVENTS_MAX = 50_000
"""As `CHECKED_BYTES_MAX`: a small event takes about a kilobyte of memory while it waits to be published."""
LINE_BYTES_MAX = 16 * 1024 * 1024
BATCH = 500
SHOWN_MAX = 20
SOURCE = "/cli"

Piece = list[tuple[int, bus.NewRecord]]
"""Records with the numbers of their lines, checked and not published yet."""


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
    common.run(_publish(ctx, event_type, data, file, count, as_json=as_json))


async def _publish(
    ctx: typer.Context, event_type: str, data: str | None, file: str | None, count: int, *, as_json: bool
) -> None:
    known = common.known(ctx)
    cls = known.event(event_type)
    if (data is None) == (file is None):
        raise failures.UsageError(f"give --data JSON or --file FILE; `sixfold event new {event_type}` prints a sample")
    if file is not None and count != 1:
        raise failures.UsageError("--count repeats --data; with --file, repeat the lines")
    spec = known.topic(cls.__event__.topic)
    encoder = _Encoder(cls, spec, await registries.frame_of(ctx, cls))
    if data is not None:
        record = encoder.record(data.encode(errors="surrogateescape"), "--data")
        pieces: Iterator[Piece] = _repeated(record, encoder, count)
    else:
        assert file is not None
        pieces = encoder.pieces(file)
    ahead = [next(pieces, [])]  # all of it, unless the input is very long: checked before the bus is opened
    async with common.process(ctx) as process:
        if spec is not None and spec.name not in await process.require_bus().topics():
            await process.require_bus().create_topics([spec])
        with _Published(as_json=as_json) as published:
            await _store(process, ahead, pieces, published)


class _Encoder:
    """Lines of one event type as records."""

    def __init__(self, cls: type[Event], spec: bus.TopicSpec | None, frame: framing.Frame | None) -> None:
        self._cls = cls
        self._spec = spec
        self._frame = frame
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
        return json_events.encode(event, attributes, self._spec, self._frame)

    def pieces(self, file: str) -> Iterator[Piece]:
        """The records of `file` with their line numbers, in pieces that are each checked whole."""
        if file == "-":
            yield from self._read(sys.stdin.buffer, "standard input")
            return
        try:
            with Path(file).open("rb") as opened:
                yield from self._read(opened, file)
        except OSError as error:
            raise failures.UsageError(f"{file} cannot be read: {error.strerror}") from error

    def _read(self, opened: BinaryIO, name: str) -> Iterator[Piece]:
        piece: Piece = []
        size = number = 0
        while line := opened.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise InputError(f"{name} line {number}: longer than {LINE_BYTES_MAX:,} bytes; one event a line")
            if not line.strip():
                continue
            piece.append((number, self.record(line, f"{name} line {number}")))
            size += len(line)
            if size >= CHECKED_BYTES_MAX or len(piece) >= CHECKED_EVENTS_MAX:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece


def _repeated(record: bus.NewRecord, encoder: _Encoder, count: int) -> Iterator[Piece]:
    """`count` records with the content of `record`, each an event with an id of its own."""
    step = min(CHECKED_EVENTS_MAX, 10_000)
    for start in range(0, count, step):
        numbers = range(start, min(count, start + step))
        yield [(number + 1, record if number == 0 else _again(record)) for number in numbers]


def _again(record: bus.NewRecord) -> bus.NewRecord:
    fresh = uuid.uuid4().hex.encode()
    headers = [(name, fresh if name in ("ce_id", "ce_correlationid") else value) for name, value in record.headers]
    return bus.NewRecord(
        topic=record.topic, value=record.value, key=record.key, headers=headers, timestamp_ms=record.timestamp_ms
    )


class _Published:
    """Tells what is stored, as it is stored: with `as_json` every position, else those of a few and a sum of many."""

    def __init__(self, *, as_json: bool) -> None:
        self.count = 0
        self.last_line = 0
        self._first: list[dict[str, Any]] = []
        self._partitions: set[tuple[str, int]] = set()
        self._rows = streaming.JsonArray() if as_json else None

    def add(self, batch: Piece, positions: Sequence[bus.Position]) -> None:
        """The records of `batch` are stored at `positions`."""
        for (_, record), position in zip(batch, positions, strict=True):
            row = {**position._asdict(), "id": cloudevents.attributes_of(record.headers).id}
            if self._rows is not None:
                self._rows.add(row)
            elif len(self._first) < SHOWN_MAX:
                self._first.append(row)
            self._partitions.add((position.topic, position.partition))
        self.count += len(batch)
        self.last_line = batch[-1][0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows is not None:
            self._rows.__exit__(kind, error, trace)
        elif error is None:
            common.draw(self._rendered())

    def so_far(self) -> str:
        """For an error: which lines are stored."""
        if not self.count:
            return "nothing is published"
        return f"lines up to {self.last_line} are published ({self.count:,} events)"

    def _rendered(self) -> Table | str:
        if self.count > SHOWN_MAX:
            topic = escape(self._first[0]["topic"])
            return f"published {self.count:,} events to {len(self._partitions)} partitions of {topic}"
        if not self.count:
            return "nothing to publish: the input is empty"
        table = Table("Position", "Event id")
        for row in self._first:
            table.add_row(escape(f"{row['topic']}:{row['partition']}:{row['offset']}"), row["id"])
        return table


async def _store(process: Process, ahead: list[Piece], pieces: Iterator[Piece], published: _Published) -> None:
    """Publish what is `ahead`, then piece by piece; the error says exactly which lines are stored."""
    opened = process.require_bus()
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = len(ahead[0])
    with Progress(*columns, console=common.errors, transient=True, disable=total <= BATCH) as progress:
        task = progress.add_task("publishing", total=total)
        while piece := ahead.pop():
            for start in range(0, len(piece), BATCH):
                batch = piece[start : start + BATCH]
                try:
                    positions = await opened.publish([record for _, record in batch])
                except bus.BusError as error:
                    raise PublishError(_account(published, batch, error)) from error
                published.add(batch, positions)
                progress.advance(task, len(batch))
            piece.clear()  # before the next one is read: one is in memory at a time
            try:
                ahead.append(next(pieces, []))
            except InputError as error:
                raise InputError(f"{error}; {published.so_far()}, the rest is not") from error
            total += len(ahead[0])
            progress.update(task, total=total)


def _account(published: _Published, batch: Piece, error: bus.BusError) -> str:
    lines = f"{batch[0][0]} to {batch[-1][0]}"
    nothing = isinstance(error, bus.RecordTooLargeError | bus.UnknownTopicError | bus.StorageFullError)
    fate = f"lines {lines} are not" if nothing else f"lines {lines} may be stored or not"
    return f"{error}; {published.so_far()}, {fate}, later ones are not"
