"""Avro's own rules: which schema reads which, what differs between two, what a level allows, one text for one schema."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import hypothesis
import pytest
from hypothesis import strategies

from sixfold_events import canonical, difference, levels, resolution
from sixfold_events.levels import Level

Schema = Any


def record(*fields: dict[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


COLOURS = {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}
MORE_COLOURS = {**COLOURS, "symbols": ["RED", "GREEN", "BLUE"]}
NODE = record(field("value", "long"), field("next", ["null", "Node"], default=None), name="Node", namespace="tree")


@pytest.mark.parametrize(
    ("reader", "writer", "said"),
    [
        (MORE_COLOURS, COLOURS, None),
        (COLOURS, MORE_COLOURS, "may be BLUE"),
        ({**COLOURS, "default": "RED"}, MORE_COLOURS, None),
        (COLOURS, {**COLOURS, "name": "Tint"}, "is Tint, but the reader takes Colour"),
        (COLOURS, {**COLOURS, "name": "x.Colour"}, None),
        ({"type": "fixed", "name": "F", "size": 4}, {"type": "fixed", "name": "F", "size": 8}, "F of 8 bytes"),
        (record(field("b", "int", aliases=["a"])), record(field("a", "int")), None),
        (record(name="S", aliases=["R"]), record(name="R"), None),
        (record(name="S", namespace="n", aliases=["R"]), record(name="n.R"), None),
        (record(name="S", aliases=["other.R"]), record(name="R"), "is R"),
        (NODE, NODE, None),
        (
            record(field("left", NODE), field("right", "tree.Node")),
            record(
                field("left", {**NODE, "fields": [field("value", "string")]}),
                field("right", "tree.Node"),
            ),
            "left.value is string",
        ),
        (record(field("a", {"type": "string"})), record(field("a", "string")), None),
        ("long", {"type": "long", "logicalType": "timestamp-millis"}, "is timestamp-millis"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
            "decimal(9,3)",
        ),
        (
            record(field("tags", {"type": "array", "items": COLOURS})),
            record(field("tags", "string")),
            "array of Colour",
        ),
    ],
)
def test_a_reader_reads_what_the_specification_says(reader: Any, writer: Any, said: str | None) -> None:
    """Enums, fixed, aliases, recursive and named types, logical types; each refusal names its place."""
    found = resolution.unreadable(reader, writer)
    assert (not found) if said is None else any(said in each for each in found), found


def test_logical_types_can_be_left_out_of_it() -> None:
    """As other registries judge: the bytes can be read."""
    stamp = {"type": "long", "logicalType": "timestamp-millis"}
    assert resolution.unreadable("long", stamp)
    assert not resolution.unreadable("long", stamp, logical=False)


def test_a_record_that_failed_once_is_not_taken_for_good_the_second_time() -> None:
    """A union that passes over a branch must not hide the same type's fault elsewhere."""
    inner = record(field("x", "long"), name="Inner", namespace="a")
    other = record(field("x", "string"), name="Inner", namespace="b")
    reader = record(field("one", [inner, other]), field("two", "a.Inner"))
    writer = record(field("one", other), field("two", "b.Inner"))
    assert resolution.unreadable(reader, writer) == ["two.x is string, but the reader takes long"]


def test_changes_are_listed_field_by_field() -> None:
    """Added, removed, other type or default, nested and in lists, moved, documented; equal schemas have none."""
    old = record(
        field("id", "string"),
        field("gone", "int"),
        field("lines", {"type": "array", "items": record(field("sku", "string"), name="Line")}),
        field("note", ["null", "string"], default=None),
        field("colour", COLOURS),
    )
    new = record(
        field("id", "long", doc="A number."),
        field("lines", {"type": "array", "items": record(field("sku", "string", default=""), name="Line")}),
        field("colour", MORE_COLOURS),
        field("note", ["null", "bytes"], default=None),
        field("fresh", "double"),
        doc="New words.",
    )
    found = [(each.place, each.what, each.before, each.after) for each in difference.changes(old, new)]
    assert found == [
        ("", "doc", "", '"New words."'),
        ("id", "type", "string", "long"),
        ("id", "doc", "", '"A number."'),
        ("lines[].sku", "default", "", '""'),
        ("colour", "symbols", '["RED", "GREEN"]', '["RED", "GREEN", "BLUE"]'),
        ("note", "type", "string", "bytes"),
        ("fresh", "added", "", "double, no default"),
        ("gone", "removed", "int", ""),
        ("", "order", "id, lines, note, colour", "id, lines, colour, note"),
    ]
    assert difference.changes(old, old) == []
    assert difference.changes(NODE, NODE) == []


V1 = record(field("a", "int"))
V2 = record(field("a", "int"), field("b", "int", default=0))
V3 = record(field("b", "int", default=0))
NEEDS_C = record(field("a", "int"), field("c", "int"))


@pytest.mark.parametrize(
    ("level", "new", "older", "against"),
    [
        (Level.NONE, NEEDS_C, [V1], []),
        (Level.BACKWARD, NEEDS_C, [V1], [(1, "BACKWARD")]),
        (Level.BACKWARD, V3, [V1, V2], []),
        (Level.FORWARD, NEEDS_C, [V1], []),
        (Level.FORWARD, V3, [V1, V2], [(2, "FORWARD")]),
        (Level.FORWARD_TRANSITIVE, V3, [V1, V2], [(1, "FORWARD"), (2, "FORWARD")]),
        (Level.BACKWARD_TRANSITIVE, record(field("b", "int")), [V1, V2], [(1, "BACKWARD")]),
        (Level.BACKWARD, record(field("b", "int")), [V1, V2], []),
        (Level.FULL, V2, [V1], []),
        (Level.FULL, V3, [V2], [(1, "FORWARD")]),
        (Level.FULL_TRANSITIVE, NEEDS_C, [V1, V2], [(1, "BACKWARD"), (2, "BACKWARD")]),
        (Level.FULL, V1, [], []),
    ],
)
def test_a_level_says_which_versions_count_and_which_way(
    level: Level, new: Schema, older: list[Schema], against: list[tuple[int, str]]
) -> None:
    """Transitive levels look at every version, the others at the last."""
    found = levels.violations(level, new, list(enumerate(older, 1)))
    assert [(each.version, each.direction) for each in found] == against
    for each in found:
        assert f"version {each.version}" in str(each)


@pytest.mark.parametrize(
    "spelled",
    [
        '{"type":"record","name":"n.R","fields":[{"name":"a","type":{"type":"string"}}]}',
        '{"fields":[{"type":"string","name":"a","order":"ascending"}],"namespace":"n","name":"R","type":"record"}',
        '{ "name": "R", "namespace": "n", "type": "record",\n "fields": [ {"name": "a", "type": "string"} ] }',
    ],
)
def test_one_schema_has_one_text(spelled: str) -> None:
    """However it was spelled: order of attributes, spaces, wrapped primitives, dotted names."""
    one = '{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"string"}]}'
    assert canonical.text(canonical.parse(spelled)) == one
    assert canonical.full_name(canonical.parse(spelled)) == "n.R"


def test_a_nested_type_names_its_namespace_only_where_it_changes() -> None:
    """As Avro's Java library prints it; references become short with it."""
    inner = {"type": "enum", "name": "n.E", "symbols": ["A"]}
    found = json.loads(canonical.text(record(field("a", inner), field("b", "n.E"), field("c", "m.F"), namespace="n")))
    assert [each["type"] for each in found["fields"]] == [{"type": "enum", "name": "E", "symbols": ["A"]}, "E", "m.F"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[[]]", "union"),
        ('{"type":"record","name":"R"}', "expected fields"),
        ('{"type":"record","fields":[]}', "needs a name"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}', "share a name"),
        ('{"type":"array"}', "needs items"),
        ('{"type":"nonsense"}', "not an Avro schema"),
        ('"other.Type"', "not an Avro schema"),
        ("12", "expected a type name"),
        ("[" * 100 + '"int"' + "]" * 100, "union"),
        ('{"type":"array","items":' * 100 + '"int"' + "}" * 100, "nested"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_reason(text: str, said: str) -> None:
    """Nothing else leaves the parser, however broken the text."""
    with pytest.raises(canonical.InvalidSchemaError, match=said):
        canonical.parse(text)


PRIMITIVE = strategies.sampled_from(["int", "long", "float", "double", "string", "bytes", "boolean"])
SHAPE = strategies.recursive(
    PRIMITIVE,
    lambda inner: (
        strategies.builds(lambda items: {"type": "array", "items": items}, inner)
        | strategies.builds(lambda values: {"type": "map", "values": values}, inner)
        | strategies.builds(lambda kind: ["null", kind], inner.filter(lambda kind: not isinstance(kind, list)))
    ),
    max_leaves=4,
)
RECORD = strategies.dictionaries(
    strategies.sampled_from(["a", "b", "c"]), strategies.tuples(SHAPE, strategies.booleans()), max_size=3
)


def _zero(kind: Any) -> Any:
    if isinstance(kind, list):
        return None
    if isinstance(kind, dict):
        return [_zero(kind["items"])] if kind["type"] == "array" else {"k": _zero(kind["values"])}
    return {"string": "", "bytes": b"", "boolean": True, "float": 1.5, "double": 1.5}.get(kind, 1)


def _schema(fields: dict[str, tuple[Any, bool]]) -> dict[str, Any]:
    made = []
    for name, (kind, optional) in fields.items():
        default = _zero(kind)
        plain = not isinstance(default, bytes | list | dict)
        made.append(field(name, kind, **({"default": default} if optional and plain else {})))
    return record(*made)


@hypothesis.given(writer=RECORD, reader=RECORD)
@hypothesis.settings(max_examples=300, deadline=None)
def test_what_is_called_readable_fastavro_reads(
    writer: dict[str, tuple[Any, bool]], reader: dict[str, tuple[Any, bool]]
) -> None:
    """No schema is let through whose data then cannot be read, and the one text means the same schema."""
    schemas = [_schema(writer), _schema(reader)]
    for each in schemas:
        assert not resolution.unreadable(json.loads(canonical.text(each)), each)
        assert not difference.changes(json.loads(canonical.text(each)), each)
    if resolution.unreadable(schemas[1], schemas[0]):
        return
    data = io.BytesIO()
    parsed = [fastavro.parse_schema(each) for each in schemas]
    fastavro.schemaless_writer(data, parsed[0], {name: _zero(kind) for name, (kind, _) in writer.items()})
    data.seek(0)
    assert fastavro.schemaless_reader(data, parsed[0], parsed[1]) is not None
