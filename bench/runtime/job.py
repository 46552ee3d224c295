"""What one measured process is told, and how it reads an event. Imports no Sixfold: the peers' environments lack it."""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import fastavro

PREFIX = struct.Struct(">bI")
"""Confluent's wire format: 0x00 and the schema's id, before the Avro body."""
COMMIT_S = 0.1
"""How often every peer commits, so that none waits for its default of up to 5 s when the last record is handled."""
KEYS = 1_200
"""Keys of the events, the same number in each of 12 partitions."""
NOTE = "n" * 168
"""Fills an event up to 200 bytes."""
SAY_EVERY = 50
"""Records between two lines of the function that is killed and started again."""
GROUP = 500
"""Events that are published and awaited together; two such groups are on the way at a time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process's work: handle `count` records of `topic` as `group`, or publish so many."""

    bootstrap: str
    topic: str
    group: str
    count: int
    warm: int
    """Records at the beginning that are handled and not measured."""
    mode: str
    """Which of the side's handlers."""
    concurrency: int = 1
    event_type: str = ""
    schema: Mapping[str, Any] | None = None
    """The Avro schema that the events were written with."""
    schema_id: int = 0
    linger_ms: int = 0
    """For those that publish: our own bus's settings."""
    batch_bytes: int = 0
    say_every: int = 0
    """For those that are killed: how often they say how far they are."""
    data_dir: str = ""

    def text(self) -> str:
        """The job as one argument of a command."""
        return json.dumps(asdict(self))


def told() -> Job:
    """The job that this process was started with."""
    return Job(**json.loads(sys.argv[1]))


def decoder(job: Job) -> Callable[[bytes], dict[str, Any]]:
    """What turns a record's value into the event's fields. It raises ValueError for a value of another schema."""
    assert job.schema is not None
    parsed, prefix, read = fastavro.parse_schema(dict(job.schema)), PREFIX.pack(0, job.schema_id), io.BytesIO
    schemaless_reader = fastavro.schemaless_reader

    def decode(value: bytes) -> dict[str, Any]:
        if not value.startswith(prefix):
            raise ValueError(f"expected schema {job.schema_id}, found {value[:5].hex()}")
        buffer = read(value)
        buffer.seek(5)
        return schemaless_reader(buffer, parsed, None)  # type: ignore[return-value]

    return decode


def type_of(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The record's `ce_type`, as whoever takes several types from a topic must look before decoding."""
    for name, value in headers:
        if name == "ce_type":
            return value
    return b""
