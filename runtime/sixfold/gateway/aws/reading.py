"""Parameters of a request, from the body of the JSON and of the query protocol, as botocore's clients would give them.

Text becomes what the shape says: bytes, numbers, moments in UTC. Members that the model does not know are passed over,
as AWS does, and a JSON `null` is a member that is not given. What cannot be read is a Fault.

Sources: Smithy's awsJson1_1 and awsQuery protocols.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from botocore.model import ListShape, MapShape, Shape, StructureShape

from sixfold.gateway.aws.faults import Fault

FIELDS_MAX = 4_096
"""Of a form; IAM's largest calls have some hundred."""
DEPTH_MAX = 32
"""Of nested members; AWS's models have fewer than ten."""
NUMBER_DIGITS_MAX = 6
_T = TypeVar("_T")
_INTEGERS = {"integer": 2**31, "long": 2**63}


def json(shape: StructureShape | None, body: bytes) -> dict[str, Any]:
    """The members of a JSON body; an empty body has none. Raises Fault (SerializationException)."""
    try:
        data = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable("the body is not JSON") from None
    if not isinstance(data, dict):
        raise _unreadable("expected a JSON object as the body")
    return {} if shape is None else _json_structure(shape, data, 0)


def _json_structure(shape: StructureShape, data: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise _unreadable(f"members are nested deeper than {DEPTH_MAX}")
    members = shape.members
    return {
        name: _json_value(member, data[name], depth + 1)
        for name, member in members.items()
        if data.get(name) is not None
    }


def _json_value(shape: Shape, data: Any, depth: int) -> Any:
    if isinstance(shape, StructureShape):
        return _json_structure(shape, _of(dict, data, shape), depth)
    if isinstance(shape, ListShape):
        return [_json_value(shape.member, each, depth + 1) for each in _of(list, data, shape)]
    if isinstance(shape, MapShape):
        return {
            key: _json_value(shape.value, each, depth + 1)
            for key, each in _of(dict, data, shape).items()
            if each is not None
        }
    return _SCALARS[shape.type_name](data, shape)


def _of(kind: type[_T], data: Any, shape: Shape) -> _T:
    if not isinstance(data, kind):
        raise _unreadable(f"{shape.name}: expected {_KINDS[kind]}, found {_kind(data)}")
    return data


def _string(data: Any, shape: Shape) -> str:
    return _of(str, data, shape)


def _blob(data: Any, shape: Shape) -> bytes:
    try:
        return base64.b64decode(_of(str, data, shape), validate=True)
    except (binascii.Error, ValueError):
        raise _unreadable(f"{shape.name}: expected base64") from None


def _boolean(data: Any, shape: Shape) -> bool:
    return _of(bool, data, shape)


def _integer(data: Any, shape: Shape) -> int:
    limit = _INTEGERS[shape.type_name]
    if isinstance(data, float) and data.is_integer():
        data = int(data)
    if isinstance(data, bool) or not isinstance(data, int) or not -limit <= data < limit:
        raise _unreadable(f"{shape.name}: expected a whole number of {limit.bit_length()} bits, found {_kind(data)}")
    return data


def _float(data: Any, shape: Shape) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        raise _unreadable(f"{shape.name}: expected a number, found {_kind(data)}")
    return float(data)


def _timestamp(data: Any, shape: Shape) -> datetime.datetime:
    try:
        if isinstance(data, str):
            moment = datetime.datetime.fromisoformat(data)
            return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).astimezone(datetime.UTC)
        return datetime.datetime.fromtimestamp(_float(data, shape), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise _unreadable(f"{shape.name}: expected a time, found {str(data)[:64]!r}") from None


_SCALARS: Mapping[str, Callable[[Any, Shape], Any]] = {
    "string": _string,
    "character": _string,
    "blob": _blob,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "timestamp": _timestamp,
}
_KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


def _kind(data: Any) -> str:
    return "null" if data is None else _KINDS.get(type(data), "a number")


def _unreadable(why: str) -> Fault:
    return Fault("SerializationException", why)


# -- the query protocol ------------------------------------------------------------------------------------------------


def form(body: bytes) -> dict[str, str]:
    """The fields of a form, each once. Raises Fault (MalformedQueryString)."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=FIELDS_MAX,
            errors="strict",
        )
    except ValueError as error:
        raise Fault("MalformedQueryString", "The form cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Fault("MalformedQueryString", "A field stands twice in the form")
    return fields


def query(shape: StructureShape | None, fields: Mapping[str, str]) -> dict[str, Any]:
    """The members of a form's fields. Raises Fault (MalformedInput, MalformedQueryString)."""
    if shape is None:
        return {}
    root = _Branch()
    for name, value in fields.items():
        parts = name.split(".")
        if len(parts) > DEPTH_MAX:
            raise Fault("MalformedQueryString", f"A field's name has more than {DEPTH_MAX} parts")
        root.add(parts, value)
    return _query_structure(shape, root)


class _Branch:
    """Fields whose names begin alike."""

    __slots__ = ("branches", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.branches: dict[str, _Branch] = {}

    def add(self, parts: list[str], value: str) -> None:
        """Take in a field."""
        at = self
        for part in parts:
            at = at.branches.setdefault(part, _Branch())
        at.value = value

    def numbered(self) -> list[_Branch]:
        """Members of a list in the order of their numbers. Raises Fault for a name that is no number.

        Clients leave numbers out: a structure without members has no field.
        """
        if not all(name.isascii() and name.isdecimal() and len(name) <= NUMBER_DIGITS_MAX for name in self.branches):
            raise Fault("MalformedInput", "The members of a list must be numbered 1, 2, 3 and so on")
        return [branch for _, branch in sorted(self.branches.items(), key=lambda item: int(item[0]))]


def _query_structure(shape: StructureShape, branch: _Branch) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        flat = isinstance(member, ListShape) and member.serialization.get("flattened")
        told = str(member.serialization.get("name", name))
        if flat and isinstance(member, ListShape):
            told = str(member.member.serialization.get("name", told))
        given = branch.branches.get(told)
        if given is not None:
            found[name] = _query_value(member, given)
    return found


def _query_value(shape: Shape, branch: _Branch) -> Any:
    if isinstance(shape, StructureShape):
        return _query_structure(shape, branch)
    if isinstance(shape, ListShape):
        if not shape.serialization.get("flattened"):
            branch = branch.branches.get(str(shape.member.serialization.get("name", "member")), _Branch())
        return [_query_value(shape.member, each) for each in branch.numbered()]
    if isinstance(shape, MapShape):
        if not shape.serialization.get("flattened"):
            branch = branch.branches.get("entry", _Branch())
        key, value = (
            str(each.serialization.get("name", name)) for each, name in ((shape.key, "key"), (shape.value, "value"))
        )
        entries = [each.branches for each in branch.numbered()]
        if not all(key in entry for entry in entries):
            raise Fault("MalformedInput", f"Each entry of a map has a {key}")
        return {
            _query_value(shape.key, entry[key]): _query_value(shape.value, entry.get(value, _Branch()))
            for entry in entries
        }
    if branch.value is None:
        raise Fault("MalformedInput", f"{shape.name}: expected a value, found members")
    return _from_text(shape, branch.value)


def _from_text(shape: Shape, text: str) -> Any:
    try:
        if shape.type_name == "boolean":
            return {"true": True, "false": False}[text]
        if shape.type_name in _INTEGERS:
            return _integer(int(text), shape)
        if shape.type_name in ("float", "double"):
            return _float(float(text), shape)
        return _SCALARS[shape.type_name](text, shape)
    except (ValueError, KeyError):
        raise Fault("MalformedInput", f"{shape.name}: {text[:64]!r} is no {shape.type_name}") from None
    except Fault as fault:
        raise Fault("MalformedInput", fault.message) from None
