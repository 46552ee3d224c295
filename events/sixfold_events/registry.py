"""The schema registry of one process: which schema an id means, which class reads an event type.

It is filled from event classes and from folders of frozen `.avsc` files (`<folder>/<type>/v<version>.avsc`), so no
server is needed and a reader knows every version that was ever released. `compatibility.py` checks those folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastavro

from sixfold_events import avro, cloudevents
from sixfold_events.avro import DecodeError, Schema
from sixfold_events.event import Event


class SchemaConflictError(ValueError):
    """Two different schemas have one id, or a frozen file is unreadable; the message names the files."""


class Registry:
    """Schemas by id and event classes by type."""

    def __init__(self, classes: Iterable[type[Event]] = (), folders: Sequence[Path] = ()) -> None:
        self._parsed: dict[int, Any] = {}
        self._classes: dict[str, type[Event]] = {}
        self._own_id: dict[str, int] = {}
        for cls in classes:
            self.add(cls)
        for folder in folders:
            self.add_folder(folder)

    @property
    def classes(self) -> dict[str, type[Event]]:
        """Event classes by CloudEvents type, the newest version of each."""
        return dict(self._classes)

    def add(self, cls: type[Event]) -> None:
        """Make `cls` known: its schema can be read, and events of its type decode into it."""
        codec = avro.codec(cls)
        self._add_schema(codec.schema, cls.__qualname__)
        known = self._classes.get(cls.__event__.type)
        if known is None or known.__event__.version <= cls.__event__.version:
            self._classes[cls.__event__.type] = cls
            self._own_id[cls.__event__.type] = codec.id

    def add_folder(self, folder: Path) -> None:
        """Make every frozen schema below `folder` readable."""
        for path in sorted(folder.glob("*/v*.avsc")):
            try:
                schema = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise SchemaConflictError(f"{path}: not a readable Avro schema: {error}") from error
            self._add_schema(schema, str(path))

    def _add_schema(self, schema: Schema, where: str) -> None:
        identifier = avro.fingerprint(schema)
        if identifier not in self._parsed:
            try:
                self._parsed[identifier] = fastavro.parse_schema(schema)
            except Exception as error:  # fastavro raises several unrelated types on a malformed schema
                raise SchemaConflictError(f"{where}: not a valid Avro schema: {error}") from error

    def class_of(self, event_type: str) -> type[Event] | None:
        """The class that events of `event_type` decode into, None where none is known."""
        return self._classes.get(event_type)

    def decode(self, value: bytes | None, headers: Iterable[cloudevents.Header]) -> Event:
        """The event in a record. Raises DecodeError (permanent) where type, schema or bytes are unknown or broken."""
        event_type = next((data.decode(errors="replace") for name, data in headers if name == "ce_type"), "")
        cls = self._classes.get(event_type)
        if cls is None:
            raise DecodeError(
                f"unknown event type {event_type!r}; known are: {', '.join(sorted(self._classes)) or 'none'}"
            )
        return self.decode_as(cls, value)

    def decode_as(self, cls: type[Event], value: bytes | None) -> Event:
        """As `decode`, for a record whose type is known to be that of `cls`."""
        if value is None:
            raise DecodeError(f"{cls.__event__.type}: the record has no value (a tombstone); expected an Avro body")
        identifier = avro.schema_id(value)
        codec = avro.codec(cls)
        if identifier == codec.id:
            return codec.decode(value)
        writer = self._parsed.get(identifier)
        if writer is None:
            raise DecodeError(
                f"{cls.__event__.type}: written with schema id {identifier}, which this process does not know; "
                "add the writer's frozen .avsc to the schemas folder, or update this process"
            )
        return codec.decode(value, writer)
