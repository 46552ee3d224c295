"""Avro's schema resolution: can what one schema wrote be read with another, and if not, where and why.

Source: Apache Avro 1.12 specification, Schema Resolution, with aliases and the names of nested types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sixfold_events.canonical import NAMED, PRIMITIVES, qualified

# What a reader's primitive may be for a writer's (Avro 1.12, Schema Resolution: promotions).
_PROMOTIONS = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}
_LOGICAL = ("logicalType", "precision", "scale")
SYMBOLS = "sixfold.symbols"
"""Attribute of a string that is an Enum or a Literal in the code: what it may be."""
UNKNOWN = "sixfold.unknown"
"""Attribute of a string with symbols: the one that its reader takes for any that it does not know."""


class Reason(NamedTuple):
    """One thing that stands in the way."""

    place: str
    """Such as `items[].price`; empty for the whole."""
    text: str
    """Goes after the place in a sentence."""

    def __str__(self) -> str:
        return f"{self.place or 'the record'} {self.text}"


def unreadable(reader: Any, writer: Any, *, logical: bool = True) -> list[str]:
    """Why data of schema `writer` cannot be read as `reader`, each reason with its place; empty when it can.

    With `logical` a logical type must stay what it is, since a number's meaning is part of an event's, and a reader must
    know the symbols of a writer's Enum; without it only the bytes count, as in Avro itself.
    """
    return [str(reason) for reason in reasons(reader, writer, logical=logical)]


def reasons(reader: Any, writer: Any, *, logical: bool = True) -> list[Reason]:
    """As `unreadable`, with the place apart."""
    return _Comparison(_Side(reader), _Side(writer), logical=logical).compare(expanded(reader), expanded(writer))


def expanded(schema: Any, enclosing: str = "") -> Any:
    """`schema` with every name, and every reference to one, in full."""
    if isinstance(schema, str):
        return schema if schema in PRIMITIVES else qualified(schema, None, enclosing)
    if isinstance(schema, list):
        return [expanded(branch, enclosing) for branch in schema]
    kind = schema["type"]
    if not isinstance(kind, str):
        inner = expanded(kind, enclosing)
        logical = {name: schema[name] for name in _LOGICAL if name in schema}
        return {**(inner if isinstance(inner, dict) else {"type": inner}), **logical} if logical else inner
    found = dict(schema)
    inside = enclosing
    if kind in NAMED:
        name = qualified(schema["name"], schema.get("namespace"), enclosing)
        inside = name.rpartition(".")[0]
        found |= {"name": name, "aliases": [qualified(each, None, inside) for each in schema.get("aliases", ())]}
        found.pop("namespace", None)
    if "fields" in schema:
        found["fields"] = [{**field, "type": expanded(field["type"], inside)} for field in schema["fields"]]
    for part in ("items", "values"):
        if part in schema:
            found[part] = expanded(schema[part], inside)
    return found


class _Side:
    """The named types of one schema."""

    def __init__(self, schema: Any) -> None:
        self._named: dict[str, Mapping[str, Any]] = {}
        self._collect(expanded(schema))

    def _collect(self, schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._collect(branch)
        elif isinstance(schema, dict):
            if schema["type"] in NAMED:
                self._named[schema["name"]] = schema
            for field in schema.get("fields", ()):
                self._collect(field["type"])
            for part in ("items", "values"):
                if part in schema:
                    self._collect(schema[part])

    def resolve(self, schema: Any) -> Any:
        """The type behind a reference; anything else as it is."""
        name = schema["type"] if isinstance(schema, dict) and len(schema) == 1 else schema
        return self._named.get(name, name) if isinstance(name, str) else schema


class _Comparison:
    """One comparison of two schemas; remembers the pairs of records that it has compared."""

    def __init__(self, reader: _Side, writer: _Side, *, logical: bool) -> None:
        self._reader, self._writer, self._logical = reader, writer, logical
        self._compared: dict[tuple[str, str], list[Reason]] = {}

    def compare(self, reader: Any, writer: Any) -> list[Reason]:
        reader, writer = self._reader.resolve(reader), self._writer.resolve(writer)
        if isinstance(writer, list):
            return [reason for branch in writer for reason in self.compare(reader, branch)]
        if isinstance(reader, list):
            for branch in reader:
                found = self.compare(branch, writer)
                if not found:
                    return []
                if kind_of(self._reader.resolve(branch)) == kind_of(writer) == "string":
                    return found  # no other branch is a string: what is wrong with this one says more
            return [self._other(reader, writer)]
        kinds = kind_of(reader), kind_of(writer)
        if kinds in (("record", "record"), ("error", "error")):
            return self._records(reader, writer)
        if kinds == ("array", "array"):
            return _within("[]", self.compare(reader["items"], writer["items"]))
        if kinds == ("map", "map"):
            return _within("{}", self.compare(reader["values"], writer["values"]))
        if kinds == ("enum", "enum"):
            return self._enums(reader, writer)
        if kinds == ("fixed", "fixed") and not (_same_name(reader, writer) and reader["size"] == writer["size"]):
            return [self._other(reader, writer)]
        same_meaning = not self._logical or _logical(reader) == _logical(writer)
        if kinds[0] in _PROMOTIONS.get(kinds[1], {kinds[1]}) and same_meaning:
            return _symbols(reader, writer) if self._logical else []
        return [self._other(reader, writer)]

    def _other(self, reader: Any, writer: Any) -> Reason:
        named = [self._describe(self._writer, writer), self._describe(self._reader, reader)]
        return Reason("", f"is {named[0]}, but the reader takes {named[1]}")

    def _describe(self, side: _Side, schema: Any) -> str:
        if isinstance(schema, list):
            return " or ".join(self._describe(side, side.resolve(branch)) for branch in schema)
        return describe(schema)

    def _enums(self, reader: Any, writer: Any) -> list[Reason]:
        if not _same_name(reader, writer):
            return [self._other(reader, writer)]
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if unknown and "default" not in reader:
            return [Reason("", f"may be {', '.join(unknown)}, which the reader does not know and has no default for")]
        return []

    def _records(self, reader: Any, writer: Any) -> list[Reason]:
        if not _same_name(reader, writer):
            return [self._other(reader, writer)]
        pair = reader["name"], writer["name"]
        if pair in self._compared:
            return self._compared[pair]
        self._compared[pair] = []  # while it is compared, a record inside itself counts as good
        written = {field["name"]: field for field in writer["fields"]}
        found: list[Reason] = []
        for field in reader["fields"]:
            names = (field["name"], *field.get("aliases", ()))
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                found += _within(field["name"], self.compare(field["type"], source["type"]))
            elif "default" not in field:
                found.append(Reason(field["name"], "has no default, and the data lacks it"))
        self._compared[pair] = found
        return found


def _symbols(reader: Any, writer: Any) -> list[Reason]:
    """A reader's Enum or Literal must know what the writer's may be, or say what an unknown symbol means to it."""
    known = symbols_of(reader)
    if known is None or UNKNOWN in reader:
        return []
    written = symbols_of(writer)
    strange = ["any text"] if written is None else [repr(symbol) for symbol in written if symbol not in known]
    if not strange:
        return []
    return [
        Reason(
            "",
            f"may be {' or '.join(strange)}, but the reader knows {', '.join(map(repr, known))} only: keep every symbol, "
            "or give the reader's Enum a `_missing_` that returns the member for unknown ones",
        )
    ]


def symbols_of(schema: Any) -> list[str] | None:
    """What a string may be; None where that is any text."""
    return schema.get(SYMBOLS) if isinstance(schema, dict) else None


def _same_name(reader: Any, writer: Any) -> bool:
    # Unqualified names must match; namespaces may differ (Avro 1.12, Schema Resolution). Aliases are full names.
    short = [each["name"].rpartition(".")[2] for each in (reader, writer)]
    return short[0] == short[1] or writer["name"] in reader.get("aliases", ())


def _within(place: str, found: list[Reason]) -> list[Reason]:
    joined = []
    for reason in found:
        dot = "." if reason.place and reason.place[0] not in "[{" else ""
        joined.append(Reason(f"{place}{dot}{reason.place}", reason.text))
    return joined


def kind_of(schema: Any) -> str:
    """What a type is: `record`, `long`, …"""
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _logical(schema: Any) -> Any:
    return tuple(schema.get(name) for name in _LOGICAL) if isinstance(schema, dict) else (None,) * len(_LOGICAL)


def describe(schema: Any) -> str:
    """A type in a word or two, for a message."""
    if isinstance(schema, list):
        return " or ".join(describe(branch) for branch in schema)
    if not isinstance(schema, dict):
        return str(schema)
    size = f" of {schema['size']} bytes" if "size" in schema else ""
    if schema.get("logicalType") == "decimal":
        size = f"({schema.get('precision')},{schema.get('scale', 0)})"
    if schema["type"] in ("array", "map") and "logicalType" not in schema:
        return f"{schema['type']} of {describe(schema.get('items', schema.get('values')))}"
    return f"{schema.get('logicalType') or schema.get('name') or schema['type']}{size}"
