"""The schema registry of one process: which schema an id means, which class reads an event type.

It is filled from event classes and from folders of frozen `.avsc` files (`<folder>/<type>/v<version>.avsc`), so no
server is needed and a reader knows every version that was ever released. `compatibility.py` checks those folders.
Where a registry server is used, `learn` takes what it says, and `use_frame` what it wants on the wire.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastavro

from sixfold_events import avro, canonical, cloudevents, framing
from sixfold_events.avro import DecodeError, Schema
from sixfold_events.event import Event


class SchemaConflictError(ValueError):
    """Two different schemas have one id, or a frozen file is unreadable; the message names the classes or files."""


class UnknownSchemaError(DecodeError):
    """A record was written with a schema that this process does not know; a registry server may."""

    def __init__(self, message: str, identifier: framing.Identifier) -> None:
        super().__init__(message)
        self.identifier = identifier


class Registry:
    """Schemas by id and event classes by type."""

    def __init__(self, classes: Iterable[type[Event]] = (), folders: Sequence[Path] = ()) -> None:
        self._parsed: dict[framing.Identifier, Any] = {}
        self._schemas: dict[framing.Identifier, Schema] = {}
        self._found: dict[framing.Identifier, str] = {}
        """Where each was found."""
        self._guids: dict[uuid.UUID, framing.Identifier] | None = None
        self._writers: dict[tuple[type[Event], framing.Identifier], Any] = {}
        self._frames: dict[type[Event], framing.Frame] = {}
        self._classes: dict[str, type[Event]] = {}
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

    def add_folder(self, folder: Path) -> None:
        """Make every frozen schema below `folder` readable."""
        for path in sorted(folder.glob("*/v*.avsc")):
            try:
                schema = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise SchemaConflictError(f"{path}: not a readable Avro schema: {error}") from error
            self._add_schema(schema, str(path))

    def _add_schema(self, schema: Schema, where: str) -> None:
        self._add(avro.fingerprint(schema), schema, where)

    def _add(self, identifier: framing.Identifier, schema: Schema, where: str) -> None:
        if identifier in self._parsed:
            same = [canonical.text(avro.wire_form(each)) for each in (schema, self._schemas[identifier])]
            if same[0] != same[1]:
                # 31 bits: with a thousand schemas the odds are one in four thousand.
                raise SchemaConflictError(
                    f"{where} and {self._found[identifier]} are different schemas with the same id {identifier}, so a reader "
                    "could take the bytes of one for the other's; rename a field of the newer one"
                )
        else:
            try:
                self._parsed[identifier] = fastavro.parse_schema(schema)
            except Exception as error:  # fastavro raises several unrelated types on a malformed schema
                raise SchemaConflictError(f"{where}: not a valid Avro schema: {error}") from error
            self._schemas[identifier], self._found[identifier] = schema, where
            self._guids = None

    def learn(self, identifier: framing.Identifier, schema: Schema) -> None:
        """Take a registry server's word: `identifier` means `schema`.

        Raises SchemaConflictError where it is no schema, or the id means another one already.
        """
        self._add(identifier, schema, f"schema {identifier}")

    def schema(self, identifier: framing.Identifier) -> Schema | None:
        """The schema that `identifier` means; None where this process does not know it."""
        if isinstance(identifier, uuid.UUID) and identifier not in self._schemas:
            identifier = self._by_guid().get(identifier, identifier)
        return self._schemas.get(identifier)

    def use_frame(self, cls: type[Event], frame: framing.Frame) -> None:
        """Have events of `cls` written with `frame`, as a registry server names their schema."""
        self._frames[cls] = frame

    def frame_of(self, cls: type[Event]) -> framing.Frame | None:
        """What `use_frame` said; None for the fingerprint before the body."""
        return self._frames.get(cls)

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
        return self.decode_as(cls, value, headers)

    def decode_as(
        self, cls: type[Event], value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
    ) -> Event:
        """As `decode`, for a record whose type is known to be that of `cls`.

        Raises UnknownSchemaError for one that was written with a schema which this process does not know.
        """
        if value is None:
            raise DecodeError(f"{cls.__event__.type}: the record has no value (a tombstone); expected an Avro body")
        codec = avro.codec(cls)
        # The hot path looks at no header: that a body beside a GUID begins with this class's own id is one in 2^40.
        if value.startswith(codec.prefix):
            return codec.decode_own(value)
        identifier, start = framing.read(value, headers)
        known = self._writers.get((cls, identifier), _UNKNOWN)
        if known is _UNKNOWN:
            known = self._writers[cls, identifier] = self._writer(cls, identifier)
        return codec.decode(value, known, start)

    def _writer(self, cls: type[Event], identifier: framing.Identifier) -> Any:
        """The parsed schema of `identifier`, None where it is the class's own."""
        source = identifier
        if isinstance(identifier, uuid.UUID) and identifier not in self._parsed:
            source = self._by_guid().get(identifier, identifier)
        if source not in self._parsed:
            raise UnknownSchemaError(
                f"{cls.__event__.type}: written with schema id {identifier}, which this process does not know; "
                "add the writer's frozen .avsc to the schemas folder, update this process, or name a schema registry",
                identifier,
            )
        same = canonical.text(self._schemas[source]) == canonical.text(avro.codec(cls).schema)
        return None if same else self._parsed[source]

    def _by_guid(self) -> dict[uuid.UUID, framing.Identifier]:
        """Every known schema by its GUID; made at the first record that names one."""
        if self._guids is None:
            self._guids = {canonical.guid(canonical.text(schema)): each for each, schema in self._schemas.items()}
        return self._guids


_UNKNOWN = object()
