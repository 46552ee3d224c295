"""Schema evolution: what may change between versions, and that frozen files cannot drift unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sixfold_events import Event, avro, compatibility, resolution


class Order(Event, type="order", key="order_id"):
    """An order."""

    order_id: str
    amount: int


class OrderWithNote(Event, type="order", key="order_id", version=2):
    order_id: str
    amount: int
    note: str = ""


class OrderWithRequiredNote(Event, type="order", key="order_id", version=2):
    order_id: str
    amount: int
    note: str


class OrderWithoutAmount(Event, type="order", key="order_id", version=2, compatibility="BACKWARD"):
    order_id: str


def record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def renamed(cls: type[Event]) -> dict[str, Any]:
    return {**avro.schema_of(cls), "name": "Order", "namespace": "events"}


@pytest.mark.parametrize(
    ("reader", "writer", "reason"),
    [
        ("long", "int", None),
        ("double", "long", None),
        ("int", "long", "is long, but the reader takes int"),
        ("string", "bytes", None),
        (["null", "string"], "string", None),
        ("string", ["null", "string"], "is null"),
        (["null", "string"], "long", "is long, but the reader takes null or string"),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, None),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "string"}, "{} is string"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "long", "reader takes timestamp-micros"),
        (
            record("R", {"name": "a", "type": "int"}),
            record("R", {"name": "a", "type": "int"}, {"name": "b", "type": "int"}),
            None,
        ),
        (
            record("R", {"name": "a", "type": "int"}, {"name": "b", "type": "int"}),
            record("R", {"name": "a", "type": "int"}),
            "b has no default",
        ),
        (
            record("R", {"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 1}),
            record("R", {"name": "a", "type": "int"}),
            None,
        ),
        (record("R"), record("S"), "is S, but the reader takes R"),
    ],
)
def test_a_reader_can_read_what_avro_resolves_and_nothing_else(reader: Any, writer: Any, reason: str | None) -> None:
    """`unreadable` follows Avro's schema resolution and names the place."""
    reasons = resolution.unreadable(reader, writer)
    assert (not reasons) if reason is None else any(reason in each for each in reasons), reasons


def test_a_type_that_is_not_frozen_is_a_problem_until_it_is_frozen(tmp_path: Path) -> None:
    """`freeze` writes what `check` misses, and only once."""
    assert "sixfold schema freeze" in compatibility.check(tmp_path, [Order])[0].message
    assert compatibility.freeze(tmp_path, [Order]) == [tmp_path / "order" / "v1.avsc"]
    assert compatibility.freeze(tmp_path, [Order]) == []
    assert compatibility.check(tmp_path, [Order]) == []


def test_a_class_that_drifts_from_its_frozen_version_is_named(tmp_path: Path) -> None:
    """Changing a type without a new version is found, a changed docstring is not a change."""
    compatibility.freeze(tmp_path, [Order])
    path = tmp_path / "order" / "v1.avsc"
    schema = json.loads(path.read_text())
    path.write_text(json.dumps({**schema, "doc": "Other words."}))
    assert compatibility.check(tmp_path, [Order]) == []
    path.write_text(json.dumps({**schema, "fields": schema["fields"][:1]}))
    assert "declare version=2" in compatibility.check(tmp_path, [Order])[0].message


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (OrderWithNote, None),
        (OrderWithRequiredNote, "note has no default"),
        (OrderWithoutAmount, None),
    ],
)
def test_a_new_version_must_be_compatible_with_every_older_one(
    tmp_path: Path, cls: type[Event], message: str | None
) -> None:
    """FULL refuses what either side cannot read; BACKWARD lets a field go."""
    (tmp_path / "order").mkdir()
    (tmp_path / "order" / "v1.avsc").write_text(json.dumps({**avro.schema_of(Order), "name": cls.__name__}))
    compatibility.freeze(tmp_path, [cls])
    problems = compatibility.check(tmp_path, [cls])
    assert (not problems) if message is None else message in problems[0].message


def test_full_compatibility_refuses_a_field_that_old_readers_need(tmp_path: Path) -> None:
    """Taking a required field away breaks readers that are still running; FULL says so."""
    assert resolution.unreadable(renamed(Order), renamed(OrderWithoutAmount)) == [
        "amount has no default, and the data lacks it"
    ]


def test_a_folder_whose_class_is_gone_is_named(tmp_path: Path) -> None:
    """Old records of a removed type could not be read any more."""
    compatibility.freeze(tmp_path, [Order])
    assert "keep the class" in compatibility.check(tmp_path, [])[0].message
