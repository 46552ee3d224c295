"""A capture: records of the log and, for a function, what came of them, in one file that needs no bus to be read.

The file is NDJSON, one object a line, told apart by `kind`; bytes are base64, header values may be null:

=========  =========================================================================================================
`head`     `format` ("sixfold-capture"), `version` (1), `function` (null for plain topics), `captured_ms`, and
           `partitions`: of each its `topic`, `partition`, `log_start`, the captured range `first` to `end`, and
           `committed`, up to where the function had handled it (null: nothing)
`schema`   `id` (a number, or a GUID as text) and the Avro `schema` that the records' bytes name
`record`   `topic`, `partition`, `offset`, `timestamp_ms`, `key`, `value`, `headers`, as they lay in the log
`output`   the same, of a record that the function emitted because of one of them
`letter`   `topic`, `partition`, `offset` of a record that the function parked, and the `error`
`row`      `table`, `partition`, `key`, `value` (MessagePack) of what its tables held, its timers included
`end`      how many lines came before; a file without it was cut off
=========  =========================================================================================================

Events may hold secrets, so the file is readable by its owner alone, and is never written over another.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sixfold import errors
from sixfold.bus import port

FORMAT = "sixfold-capture"
VERSION = 1
RECORDS_MAX = 100_000
BYTES_MAX = 256 * 1024 * 1024
"""Of a file: it is held in memory as a whole."""


class CaptureError(errors.UsageError):
    """A file is no capture, is cut off, or would be too large."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What was captured of one partition."""

    topic: str
    partition: int
    log_start: int
    first: int
    end: int
    committed: int | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="head"):
    """The first line."""

    format: str = FORMAT
    version: int = VERSION
    function: str | None = None
    captured_ms: int
    partitions: list[Part]


class Schema(msgspec.Struct, frozen=True, tag_field="kind", tag="schema"):
    """A schema by the id that records name."""

    id: int | str
    schema: Any

    @property
    def identifier(self) -> int | uuid.UUID:
        """As a registry knows it."""
        return self.id if isinstance(self.id, int) else uuid.UUID(self.id)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="record"):
    """A record of the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def read(self) -> port.Record:
        """As the bus gives it."""
        headers: Any = self.headers
        return port.Record(self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value, headers)


class Output(Record, frozen=True, kw_only=True, tag_field="kind", tag="output"):
    """A record that the function emitted."""


class Letter(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="letter"):
    """A record that the function parked."""

    topic: str
    partition: int
    offset: int
    error: str


class Row(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="row"):
    """A row of the function's."""

    table: str
    partition: int
    key: bytes
    value: bytes


def state_of(rows: Iterable[Row]) -> port.State:
    """As a worker stores them."""
    state: dict[tuple[str, int], dict[bytes, bytes | None]] = {}
    for row in rows:
        state.setdefault((row.table, row.partition), {})[row.key] = row.value
    return state


class End(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    """The last line."""

    lines: int


LineT = TypeVar("LineT", Record, Output)
Line = Head | Schema | Record | Output | Letter | Row | End


@dataclass(kw_only=True)
class Capture:
    """One file's content."""

    head: Head
    schemas: Sequence[Schema] = ()
    records: Sequence[Record] = ()
    """By time, each partition's in order."""
    outputs: Sequence[Output] = ()
    letters: Sequence[Letter] = ()
    rows: Sequence[Row] = field(default=())

    def lines(self) -> Iterator[Line]:
        """All but the end."""
        yield self.head
        yield from self.schemas
        yield from self.records
        yield from self.outputs
        yield from self.letters
        yield from self.rows


def write(capture: Capture, path: Path) -> int:
    """Write `path`, mode 0600; returns its size in bytes.

    Raises CaptureError where it exists, cannot be written, or would be larger than `BYTES_MAX`; no file is left then.
    """
    encoder, size, count = msgspec.json.Encoder(), 0, 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CaptureError(f"{path} exists; a capture is never written over a file: choose another name") from None
    except OSError as error:
        raise CaptureError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for line in capture.lines():
                size, count = size + file.write(encoder.encode(line) + b"\n"), count + 1
                if size > BYTES_MAX:
                    raise CaptureError(
                        f"the capture is larger than {BYTES_MAX:,} bytes; take fewer records with --count, or later ones"
                    )
            size += file.write(encoder.encode(End(count)) + b"\n")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return size


def read(path: Path) -> Capture:
    """What `write` wrote. Raises CaptureError, which names the line."""
    try:
        if path.stat().st_size > BYTES_MAX * 2:
            raise CaptureError(f"{path} is larger than any capture; expected one that `sixfold record` made")
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error
    decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
    found: dict[type, list[Any]] = {}
    lines: list[Line] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            lines.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise CaptureError(f"{path}, line {number}: not a line of a capture: {error}") from error
        found.setdefault(type(lines[-1]), []).append(lines[-1])
    head = lines[0] if lines else None
    if not isinstance(head, Head) or (head.format, head.version) != (FORMAT, VERSION):
        raise CaptureError(f"{path} is no capture of version {VERSION}; make one with `sixfold record`")
    if lines[-1] != End(len(lines) - 1):
        raise CaptureError(f"{path} is cut off after line {len(lines)}; record it again")
    return Capture(
        head=head,
        schemas=found.get(Schema, ()),
        records=found.get(Record, ()),
        outputs=found.get(Output, ()),
        letters=found.get(Letter, ()),
        rows=found.get(Row, ()),
    )
