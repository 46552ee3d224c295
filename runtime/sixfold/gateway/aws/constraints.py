"""Whether a request's parameters keep within what the service's model says, told in AWS's words.

All that is wrong is told at once, as AWS does: `2 validation errors detected: Value …; Value …`. Values of blobs and of
members that the model calls sensitive are left out.

Source: the shapes' `min`, `max`, `pattern`, `enum` and `required`; wording as the services answer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import regex
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from sixfold.gateway.aws.faults import Fault

TOLD_MAX = 10
"""Constraints that one answer tells; a list of ten thousand wrong members makes no long answer."""
VALUE_CHARS_MAX = 2_048
"""Of a value that is told; longer ones are cut."""
PATTERN_S_MAX = 1.0
"""Time that one comparison with a pattern may take. AWS's own patterns take microseconds; a model may have a bad one."""


def check(shape: StructureShape | None, parameters: Mapping[str, Any], *, code: str = "ValidationException") -> None:
    """Raises Fault with `code` unless `parameters` keep within `shape`."""
    if shape is None:
        return
    found = []
    for each in _structure(shape, parameters, ""):
        found.append(each)
        if len(found) == TOLD_MAX:
            break
    if found:
        noun = "error" if len(found) == 1 else "errors"
        raise Fault(code, f"{len(found)} validation {noun} detected: {'; '.join(found)}")


def _structure(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{path}{_told(name)}' failed to satisfy constraint: Member must not be null"
    for name, member in shape.members.items():
        given = value.get(name)
        if given is not None:
            yield from _value(member, given, f"{path}{_told(name)}")


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, f"{path}.")
        return
    for constraint in _constraints(shape, value):
        yield f"Value {_shown(shape, value)}at '{path}' failed to satisfy constraint: {constraint}"
    if isinstance(shape, ListShape):
        for index, member in enumerate(value, start=1):
            yield from _value(shape.member, member, f"{path}.{index}.member")
    elif isinstance(shape, MapShape):
        for key, member in value.items():
            yield from _value(shape.key, key, f"{path}.key")
            yield from _value(shape.value, member, f"{path}.{key[:VALUE_CHARS_MAX]}.member")


def _constraints(shape: Shape, value: Any) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name in ("string", "blob", "list", "map"):
        what, size = "length", len(value)
    else:
        what, size = "value", value
    if shape.type_name not in ("boolean", "timestamp"):
        if least is not None and size < least:
            yield f"Member must have {what} greater than or equal to {least}"
        if most is not None and size > most:
            yield f"Member must have {what} less than or equal to {most}"
    if isinstance(shape, StringShape):
        pattern = shape.metadata.get("pattern")
        if pattern and not _matches(pattern, value):
            yield f"Member must satisfy regular expression pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _matches(pattern: str, value: str) -> bool:
    try:
        return _compiled(pattern).fullmatch(value, timeout=PATTERN_S_MAX) is not None
    except TimeoutError:
        return False


@functools.cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.ASCII if r"\p" not in pattern else 0)


def _shown(shape: Shape, value: Any) -> str:
    if shape.type_name == "blob" or shape.metadata.get("sensitive"):
        return ""
    text = str(value) if shape.type_name != "boolean" else str(value).lower()
    return f"'{text[:VALUE_CHARS_MAX]}' "


def _told(name: str) -> str:
    """A member's name as AWS tells it: `NumberOfBytes` is `numberOfBytes`."""
    return name[:1].lower() + name[1:]
