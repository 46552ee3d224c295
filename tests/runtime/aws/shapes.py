"""Values that a shape of a botocore model takes, drawn by hypothesis."""

from __future__ import annotations

import datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from hypothesis import strategies

_TEXT = strategies.text(
    # What XML 1.0 can hold, as the query protocol's answers must; a parser makes one line end of the others.
    strategies.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff\x85\u2028"),
    max_size=20,
)
_MOMENTS = strategies.integers(0, 4_000_000_000).map(lambda at: datetime.datetime.fromtimestamp(at, datetime.UTC))
_SCALARS: dict[str, strategies.SearchStrategy[Any]] = {
    "blob": strategies.binary(max_size=20),
    "boolean": strategies.booleans(),
    "integer": strategies.integers(-(2**31), 2**31 - 1),
    "long": strategies.integers(-(2**53), 2**53),
    "float": strategies.floats(-1e6, 1e6, width=32),
    "double": strategies.floats(-1e6, 1e6),
    "timestamp": _MOMENTS,
}


def values(shape: Shape, depth: int = 0) -> strategies.SearchStrategy[Any]:
    """Values of the right types; limits of the model are not kept."""
    if isinstance(shape, StructureShape):
        members = {name: values(member, depth + 1) for name, member in shape.members.items()} if depth < 5 else {}
        return strategies.fixed_dictionaries({}, optional=members)
    if isinstance(shape, ListShape):
        return strategies.lists(values(shape.member, depth + 1), max_size=3)
    if isinstance(shape, MapShape):
        return strategies.dictionaries(values(shape.key, depth + 1), values(shape.value, depth + 1), max_size=3)
    if isinstance(shape, StringShape) and shape.enum:
        return strategies.sampled_from(shape.enum)
    return _SCALARS.get(shape.type_name, _TEXT)
