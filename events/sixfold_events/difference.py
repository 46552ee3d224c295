"""What changed between two Avro schemas, field by field. `levels.py` says what of it is not allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sixfold_events import resolution


class Change(NamedTuple):
    """One difference."""

    place: str
    """The field, such as `items[].price`; empty for the record itself."""
    what: str
    """`added`, `removed`, `type`, `default`, `doc`, `name`, `aliases`, `symbols`, `size` or `order`."""
    before: str
    after: str


def changes(old: Any, new: Any) -> list[Change]:
    """Everything that differs from `old` to `new`, in the order of the fields."""
    return list(_Walk().schemas(resolution.expanded(old), resolution.expanded(new), ""))


class _Walk:
    """One walk over two schemas; a named type is compared where it is defined."""

    def schemas(self, old: Any, new: Any, place: str) -> Iterator[Change]:
        kinds = resolution.kind_of(old), resolution.kind_of(new)
        optional = _optional(old), _optional(new)
        if optional[0] is not None and optional[1] is not None:
            yield from self.schemas(*optional, place)
        elif isinstance(old, list) or isinstance(new, list) or kinds[0] != kinds[1]:
            if old != new:
                yield Change(place, "type", _type(old), _type(new))
        elif kinds[0] in ("record", "error"):
            yield from self._named(old, new, place)
            yield from self._fields(old, new, place)
        elif kinds[0] == "array":
            yield from self.schemas(old["items"], new["items"], f"{place}[]")
        elif kinds[0] == "map":
            yield from self.schemas(old["values"], new["values"], f"{place}{{}}")
        elif kinds[0] == "enum":
            yield from self._named(old, new, place)
            yield from _attribute(old, new, "symbols", place)
            yield from _attribute(old, new, "default", place)
        elif kinds[0] == "string" and resolution.symbols_of(old) != resolution.symbols_of(new):
            yield Change(place, "symbols", *(json.dumps(resolution.symbols_of(side) or "any") for side in (old, new)))
        elif kinds[0] == "fixed":
            yield from self._named(old, new, place)
            yield from _attribute(old, new, "size", place)
        if not isinstance(old, list) and kinds[0] == kinds[1] and _logical(old) != _logical(new):
            yield Change(place, "type", _type(old), _type(new))

    def _named(self, old: Any, new: Any, place: str) -> Iterator[Change]:
        for name in ("name", "doc", "aliases"):
            yield from _attribute(old, new, name, place)

    def _fields(self, old: Any, new: Any, place: str) -> Iterator[Change]:
        before = {field["name"]: field for field in old["fields"]}
        after = {field["name"]: field for field in new["fields"]}
        for name, field in after.items():
            where = f"{place}.{name}" if place else name
            if name not in before:
                default = f", default {json.dumps(field['default'])}" if "default" in field else ", no default"
                yield Change(where, "added", "", _type(field["type"]) + default)
                continue
            yield from self.schemas(before[name]["type"], field["type"], where)
            for attribute in ("default", "doc", "aliases"):
                yield from _attribute(before[name], field, attribute, where)
        for name, field in before.items():
            if name not in after:
                yield Change(f"{place}.{name}" if place else name, "removed", _type(field["type"]), "")
        common = [name for name in before if name in after]
        moved = [name for name in after if name in before]
        if common != moved:
            yield Change(place, "order", ", ".join(common), ", ".join(moved))


def _attribute(old: Any, new: Any, name: str, place: str) -> Iterator[Change]:
    texts = [
        json.dumps(side[name]) if name in side and side[name] != [] else ""
        for side in (old, new)
        if isinstance(side, dict)
    ]
    if len(texts) == 2 and texts[0] != texts[1]:
        yield Change(place, name, *texts)


def _optional(schema: Any) -> Any:
    """The type of an optional field; None where it is something else."""
    if isinstance(schema, list) and len(schema) == 2 and schema[0] == "null":
        return schema[1]
    return None


def _logical(schema: Any) -> Any:
    names = ("logicalType", "precision", "scale")
    return [schema.get(name) for name in names] if isinstance(schema, dict) else [None] * len(names)


def _type(schema: Any) -> str:
    return resolution.describe(schema)
