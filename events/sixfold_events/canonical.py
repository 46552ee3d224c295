"""Avro schemas as text: parsed from anybody's, checked, and written in one form, so that equal schemas are equal texts.

The form is the one in which Avro's Java library prints a schema (attributes in a fixed order, a namespace only where it
changes, `{"type": "string"}` as `"string"`), which registries keep. Source: Apache Avro 1.12 specification, Names.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import fastavro

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
DEPTH_MAX = 64
"""Types within types. Avro's own tools give up somewhere above; the recursion here must not overflow."""
_KNOWN = ("type", "name", "namespace", "doc", "fields", "symbols", "items", "values", "size", "default", "aliases")
_FIELD = ("name", "type", "doc", "default", "order", "aliases")


class InvalidSchemaError(ValueError):
    """The text is no Avro schema; the message says why."""


def parse(text: str) -> Any:
    """The schema that `text` spells, checked. Raises InvalidSchemaError."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        # A bare type name is a schema to Avro's tools, though it is no JSON.
        if text in PRIMITIVES:
            return text
        raise InvalidSchemaError(f"the schema is not JSON: {error}") from error
    check(schema)
    return schema


def check(schema: Any) -> None:
    """Raises InvalidSchemaError where `schema` (JSON values) is no Avro schema."""
    _check_shape(schema, 0)
    try:
        fastavro.parse_schema(json.loads(json.dumps(schema)))
    except Exception as error:  # fastavro raises several unrelated types on a malformed schema
        raise InvalidSchemaError(f"not an Avro schema: {error or type(error).__name__}") from error


def _check_shape(schema: Any, depth: int) -> None:
    """What fastavro overlooks: types that are no strings, names missing, depth without end."""
    if depth > DEPTH_MAX:
        raise InvalidSchemaError(f"types are nested more than {DEPTH_MAX} deep")
    if isinstance(schema, str):
        return
    if isinstance(schema, list):
        for branch in schema:
            if isinstance(branch, list):
                raise InvalidSchemaError("a union may not hold a union")
            _check_shape(branch, depth + 1)
        return
    if not isinstance(schema, dict) or "type" not in schema:
        raise InvalidSchemaError(f"expected a type name, a union or an object with a type, found {json.dumps(schema)}")
    kind = schema["type"]
    if not isinstance(kind, str):
        _check_shape(kind, depth + 1)
        return
    if kind in NAMED and not isinstance(schema.get("name"), str):
        raise InvalidSchemaError(f"a type {kind} needs a name")
    if kind in ("record", "error"):
        fields = schema.get("fields")
        if not isinstance(fields, list) or not all(isinstance(field, dict) and "type" in field for field in fields):
            raise InvalidSchemaError(f"record {schema['name']}: expected fields, each an object with a name and a type")
        names = [field.get("name") for field in fields]
        if len(set(map(str, names))) < len(names) or not all(isinstance(name, str) for name in names):
            raise InvalidSchemaError(f"record {schema['name']}: two fields share a name, or one has none")
        for field in fields:
            _check_shape(field["type"], depth + 1)
    elif kind in ("array", "map"):
        part = "items" if kind == "array" else "values"
        if part not in schema:
            raise InvalidSchemaError(f"a type {kind} needs {part}")
        _check_shape(schema[part], depth + 1)


def text(schema: Any) -> str:
    """`schema` in the one form, without spaces."""
    return json.dumps(_ordered(schema, ""), separators=(",", ":"), ensure_ascii=False)


def guid(canonical: str) -> uuid.UUID:
    """The schema's id everywhere: a digest of its text, so that no registry has to be asked."""
    return uuid.UUID(bytes=hashlib.md5(canonical.encode(), usedforsecurity=False).digest())


def full_name(schema: Any) -> str:
    """The name of a named type with its namespace; of others what they are, such as `array`."""
    if isinstance(schema, Mapping) and schema.get("type") in NAMED:
        return qualified(str(schema["name"]), schema.get("namespace"), "")
    return str(schema.get("type")) if isinstance(schema, Mapping) else json.dumps(schema)


def qualified(name: str, namespace: Any, enclosing: str) -> str:
    """A name as it is meant inside `enclosing`: a dotted name is full, another takes the namespace that is nearest."""
    if "." in name:
        return name.removeprefix(".")
    space = enclosing if namespace is None else str(namespace)
    return f"{space}.{name}" if space else name


def _ordered(schema: Any, enclosing: str) -> Any:
    if isinstance(schema, str):
        space, _, short = schema.rpartition(".")
        return short if space and space == enclosing else schema
    if isinstance(schema, list):
        return [_ordered(branch, enclosing) for branch in schema]
    if not isinstance(schema["type"], str):
        # {"type": {"type": …}} says what its inner type says, and perhaps more.
        inner = _ordered(schema["type"], enclosing)
        extra = {name: schema[name] for name in sorted(schema) if name != "type"}
        return {**(inner if isinstance(inner, dict) else {"type": inner}), **extra} if extra else inner
    if len(schema) == 1:
        return _ordered(schema["type"], enclosing)
    found: dict[str, Any] = {}
    inside = enclosing
    if schema["type"] in NAMED:
        inside, _, short = qualified(schema["name"], schema.get("namespace"), enclosing).rpartition(".")
        schema = {**schema, "name": short, "namespace": inside}
        if inside == enclosing:
            del schema["namespace"]
    for name in (*_KNOWN, *sorted(set(schema) - set(_KNOWN))):
        if name not in schema:
            continue
        value = schema[name]
        if name == "fields":
            value = [_field(field, inside) for field in value]
        elif name in ("items", "values"):
            value = _ordered(value, inside)
        elif name == "type" and value not in NAMED and value not in ("array", "map"):
            value = _ordered(value, enclosing)
        found[name] = value
    return found


def _field(field: Mapping[str, Any], enclosing: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*_FIELD, *sorted(set(field) - set(_FIELD))):
        if name in field and not (name == "order" and field[name] == "ascending"):
            found[name] = _ordered(field[name], enclosing) if name == "type" else field[name]
    return found
