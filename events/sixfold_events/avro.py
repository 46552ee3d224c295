"""Avro schemas and bodies of event types, in the Confluent wire format (0x00, 4-byte schema id, Avro body).

The schema comes from the type; its id is a fingerprint of its content, so every process gives the same id without a
server. Sources: Apache Avro 1.12 specification; Confluent wire format ("magic byte 0, id, payload").

An Enum or a Literal is a string on the wire, not an Avro enum: its values may be any text, and a symbol more changes
neither the bytes of the others nor the schema id. Its symbols stand beside the type, where Avro lets anybody add
attributes, so that `resolution.py` sees which of them come and go.
"""

from __future__ import annotations

import datetime
import enum
import functools
import hashlib
import io
import json
import struct
import types
import typing
from collections.abc import Sequence
from typing import Any, cast

import fastavro
import msgspec

from sixfold_events.event import Event, EventDefinitionError
from sixfold_events.resolution import SYMBOLS, UNKNOWN

Schema = dict[str, Any]

MAGIC = 0
_PREFIX = struct.Struct(">bI")
_PRIMITIVES: dict[Any, Any] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "bytes",
    datetime.datetime: {"type": "long", "logicalType": "timestamp-micros"},
}
_FLAT = (str, int, float, bool, bytes, datetime.datetime)


class DecodeError(ValueError):
    """The bytes are no event that this registry can read; the message says why. Trying again does not help."""


def schema_of(cls: type[Event]) -> Schema:
    """The Avro record schema of an event class, with its docstring as `doc`."""
    declaration = cls.__event__
    namespace = declaration.type.rpartition(".")[0] or "events"
    return _record(cls, namespace, {})


def fingerprint(schema: Schema) -> int:
    """Schema id: the first 31 bits of SHA-256 over the schema's wire form as sorted JSON; never 0."""
    canonical = json.dumps(wire_form(schema), sort_keys=True, separators=(",", ":"))
    return (int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:4], "big") & 0x7FFFFFFF) or 1


def wire_form(schema: Schema) -> Any:
    """What of a schema decides how bytes are read: all but words and symbols."""
    return _without(schema, {"doc", SYMBOLS, UNKNOWN})


def declared_form(schema: Schema) -> Any:
    """What of a schema is declared: all but words."""
    return _without(schema, {"doc"})


def _without(node: Any, names: set[str]) -> Any:
    if isinstance(node, dict):
        kept = {name: _without(value, names) for name, value in node.items() if name not in names}
        return "string" if kept == {"type": "string"} else kept
    return [_without(item, names) for item in node] if isinstance(node, list) else node


def _record(cls: type[Any], namespace: str, seen: dict[type, str]) -> Schema:
    seen[cls] = f"{namespace}.{cls.__name__}"
    hints = typing.get_type_hints(cls, include_extras=False)
    fields: list[Schema] = []
    for info in msgspec.structs.fields(cls):
        if len(seen) > 1 and isinstance(info.default, bytes):
            raise EventDefinitionError(
                f"{cls.__name__}.{info.name}: a bytes default works in the event itself, not nested"
            )
        field: Schema = {
            "name": info.name,
            "type": _type(hints[info.name], f"{cls.__name__}.{info.name}", namespace, seen),
        }
        if info.default is not msgspec.NODEFAULT:
            field["default"] = _default(info.default, field["type"])
        elif info.default_factory is not msgspec.NODEFAULT:
            field["default"] = _default(info.default_factory(), field["type"])
        fields.append(field)
    schema: Schema = {"type": "record", "name": cls.__name__, "namespace": namespace, "fields": fields}
    doc = (cls.__doc__ or "").strip()
    if doc:
        schema["doc"] = " ".join(doc.split("\n\n")[0].split())
    return schema


def _type(hint: Any, where: str, namespace: str, seen: dict[type, str]) -> Any:
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        others = [arg for arg in args if arg is not types.NoneType]
        if len(others) == 1 and len(args) == 2:
            return ["null", _type(others[0], where, namespace, seen)]
        raise EventDefinitionError(f"{where}: a union must be one type or None, found {hint}")
    if origin in (list, tuple):
        return {"type": "array", "items": _type(args[0], where, namespace, seen)}
    if origin is dict and args[0] is str:
        return {"type": "map", "values": _type(args[1], where, namespace, seen)}
    if origin is typing.Literal:
        return _symbols(args, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _symbols([member.value for member in hint], where, _unknown_of(hint))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return seen[hint] if hint in seen else _record(hint, namespace, seen)
    raise EventDefinitionError(
        f"{where}: {hint} has no Avro form; use str, int, float, bool, bytes, datetime, Enum, Literal, Optional, list, "
        "dict[str, …] or a Struct of these"
    )


def _symbols(values: Sequence[Any], where: str, unknown: str | None = None) -> Schema:
    if not all(isinstance(value, str) for value in values):
        raise EventDefinitionError(f"{where}: the values of an Enum or Literal must be text, found {list(values)}")
    return {"type": "string", SYMBOLS: list(values), **({} if unknown is None else {UNKNOWN: unknown})}


def _unknown_of(cls: type[enum.Enum]) -> str | None:
    """The symbol that `_missing_` gives for one that nobody can have thought of."""
    try:
        return str(cls("\0 unknown").value)
    except ValueError:
        return None


def _default(value: Any, avro_type: Any) -> Any:
    if isinstance(avro_type, list) and value is not None:
        raise EventDefinitionError(
            f"an Optional field's default must be None (Avro takes the union's first type), found {value!r}"
        )
    if isinstance(value, bytes):
        return value.decode("latin-1")  # Avro 1.12: bytes defaults are strings of code points 0-255
    return msgspec.to_builtins(value)


class Codec:
    """Encodes and decodes one event class; made once per class by `codec`."""

    def __init__(self, cls: type[Event]) -> None:
        self.cls = cls
        self.schema = schema_of(cls)
        self.id = fingerprint(self.schema)
        self.prefix = _PREFIX.pack(MAGIC, self.id)
        self._parsed = fastavro.parse_schema(self.schema)
        self._read: Any = fastavro.schemaless_reader
        hints = typing.get_type_hints(cls)
        self._fields = cls.__struct_fields__
        # fastavro hands a bytes field's default out as the string that the schema spells it with.
        self._bytes = [name for name in self._fields if hints[name] is bytes]
        self._flat = all(_is_flat(hints[name]) for name in self._fields)

    def encode(self, event: Event, prefix: bytes | None = None) -> bytes:
        """The event's body with its 5-byte prefix, or with `prefix` in its place."""
        buffer = io.BytesIO()
        buffer.write(self.prefix if prefix is None else prefix)
        datum: Any = (
            msgspec.structs.asdict(event)
            if self._flat
            else msgspec.to_builtins(event, builtin_types=(bytes, datetime.datetime))
        )
        fastavro.schemaless_writer(buffer, self._parsed, datum)
        return buffer.getvalue()

    def decode_own(self, data: bytes) -> Event:
        """As `decode`, for a body behind this class's own `prefix`: the hot path."""
        if not self._flat:
            return self.decode(data)
        buffer = io.BytesIO(data)
        buffer.seek(5)
        try:
            # Read with the class's own schema, so every field is there and of its Avro type, which is its own.
            return self.cls(**self._read(buffer, self._parsed, None))
        except Exception as error:
            raise self._unreadable(data, error) from error

    def decode(self, data: bytes, writer: Schema | None = None, start: int = 5) -> Event:
        """The event whose body begins at `start`, written with the parsed schema `writer` (this class's own if None)."""
        buffer = io.BytesIO(data)
        buffer.seek(start)
        try:
            datum = fastavro.schemaless_reader(buffer, writer or self._parsed, self._parsed if writer else None)
            if writer is not None:
                datum = cast("dict[str, Any]", datum)
                for name in self._bytes:
                    if isinstance(datum[name], str):
                        datum[name] = datum[name].encode("latin-1")
            return msgspec.convert(datum, self.cls, builtin_types=(bytes, datetime.datetime))
        except Exception as error:  # fastavro raises many types, from EOFError to IndexError, on rubbish
            raise self._unreadable(data, error) from error

    def _unreadable(self, data: bytes, error: Exception) -> DecodeError:
        return DecodeError(
            f"{self.cls.__event__.type}: {len(data)} bytes do not fit its schema: {error or type(error).__name__}"
        )


def _is_flat(hint: Any) -> bool:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType, list, dict):
        return all(arg is types.NoneType or _is_flat(arg) for arg in args)
    return hint in _FLAT


@functools.cache
def codec(cls: type[Event]) -> Codec:
    """The codec of an event class, made at first use."""
    return Codec(cls)
