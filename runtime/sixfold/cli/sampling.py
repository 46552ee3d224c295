"""A sample of an event type: the one that is kept beside its schema, else one made from its fields."""

from __future__ import annotations

import datetime
import enum
import json
import types
import typing
from typing import Any

import msgspec

from sixfold import catalogue
from sixfold_events import Event

_PLAIN: dict[Any, Any] = {
    int: 1,
    float: 1.5,
    bool: True,
    bytes: "Ynl0ZXM=",
    datetime.datetime: "2014-11-12T17:00:00Z",
}


def sample(cls: type[Event]) -> dict[str, Any]:
    """Fields with values that fit, in JSON's types."""
    path = catalogue.SAMPLES / f"{cls.__event__.type}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    return _struct(cls)


def _struct(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    data: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        if field.default is not msgspec.NODEFAULT:
            data[field.encode_name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            data[field.encode_name] = msgspec.to_builtins(field.default_factory())
        else:
            data[field.encode_name] = _value(hints[field.name], field.name)
    return data


def _value(hint: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is str:
        return f"a {name}"
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in (typing.Union, types.UnionType):
        return None
    if origin in (list, tuple):
        return [_value(arguments[0], name)]
    if origin is dict:
        return {"name": _value(arguments[1], name)}
    if origin is typing.Literal:
        return arguments[0]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint)).value
    return _struct(hint)
