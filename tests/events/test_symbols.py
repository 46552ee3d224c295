"""Enums and Literals in events: strings on the wire whose symbols are checked like any other part of a schema."""

from __future__ import annotations

import enum
import io
import json
from pathlib import Path
from typing import Any, Literal

import fastavro
import pytest

from sixfold_events import DecodeError, Event, EventDefinitionError, avro, compatibility, difference, resolution
from sixfold_events.registry import Registry


class Two(enum.Enum):
    RED = "red"
    BLUE = "dark blue"


class Three(enum.Enum):
    RED = "red"
    BLUE = "dark blue"
    GREEN = "green"


class TwoOrOther(enum.Enum):
    RED = "red"
    BLUE = "dark blue"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> TwoOrOther:
        return cls.OTHER


class ThreeOrOther(enum.Enum):
    RED = "red"
    BLUE = "dark blue"
    OTHER = "other"
    GREEN = "green"

    @classmethod
    def _missing_(cls, value: object) -> ThreeOrOther:
        return cls.OTHER


def painted(colour: Any, version: int = 1, compatibility: str = "FULL") -> Any:
    """An event type whose colour is of this kind."""
    return type(
        "Painted",
        (Event,),
        {"__annotations__": {"colour": colour}, "__module__": __name__},
        version=version,
        compatibility=compatibility,
    )


@pytest.mark.parametrize(
    ("old", "new", "level", "problem"),
    [
        (Two, Three, "BACKWARD", None),
        (
            Two,
            Three,
            "FULL",
            "version 1 cannot read version 2: colour may be 'green', but the reader knows 'red', 'dark",
        ),
        (Three, Two, "BACKWARD", "version 2 cannot read it: colour may be 'green'"),
        (Three, Two, "FULL", "version 2 cannot read it: colour may be 'green'"),
        (TwoOrOther, ThreeOrOther, "FULL", None),
        (ThreeOrOther, TwoOrOther, "FULL", None),
        (Two, TwoOrOther, "BACKWARD", None),
        (Literal["a", "b"], Literal["a"], "BACKWARD", "colour may be 'b'"),
        (Literal["a"], Literal["a", "b"], "BACKWARD", None),
        (Three | None, Two | None, "BACKWARD", "colour may be 'green'"),
        (list[Three], list[Two], "BACKWARD", "colour[] may be 'green'"),
        (Two, str, "BACKWARD", None),
        (str, Two, "BACKWARD", "colour may be any text"),
        (str, TwoOrOther, "BACKWARD", None),
    ],
)
def test_a_symbol_that_a_reader_would_refuse_is_found_by_the_check(
    tmp_path: Path, old: Any, new: Any, level: str, problem: str | None
) -> None:
    """Taking one away breaks BACKWARD, adding one breaks FULL, unless the reader says what an unknown one means."""
    compatibility.freeze(tmp_path, [painted(old)])
    cls = painted(new, version=2, compatibility=level)
    compatibility.freeze(tmp_path, [cls])
    problems = [each.message for each in compatibility.check(tmp_path, [cls])]
    assert (not problems) if problem is None else any(problem in each for each in problems), problems


@pytest.mark.parametrize("new", [Three, str, TwoOrOther], ids=["more", "any text", "with one for unknown"])
def test_symbols_cannot_change_without_a_new_version(tmp_path: Path, new: Any) -> None:
    """What is frozen holds for symbols, too."""
    compatibility.freeze(tmp_path, [painted(Two)])
    assert compatibility.check(tmp_path, [painted(Two)]) == []
    assert "declare version=2" in compatibility.check(tmp_path, [painted(new)])[0].message


def test_symbols_change_neither_the_bytes_nor_the_id_of_a_schema() -> None:
    """A string with symbols is a string to every Avro library, and readers that run need no new schema for a symbol."""
    ids = {avro.codec(painted(kind)).id for kind in (str, Two, Three, TwoOrOther, Literal["red"])}
    assert ids == {avro.fingerprint({**avro.schema_of(painted(str)), "doc": "words"})}
    data = avro.codec(painted(Two)).encode(painted(Two)(colour=Two.BLUE))
    plain = fastavro.parse_schema(avro.schema_of(painted(str)))
    assert fastavro.schemaless_reader(io.BytesIO(data[5:]), plain, None) == {"colour": "dark blue"}


def test_a_running_reader_takes_an_unknown_symbol_for_what_it_says_or_refuses_it() -> None:
    """A newer writer's symbol: the Enum's `_missing_` decides; without one it is a DecodeError that names the place."""
    newer, tolerant, strict = painted(ThreeOrOther), painted(TwoOrOther), painted(Two)
    data = avro.codec(newer).encode(newer(colour=ThreeOrOther.GREEN))
    read = Registry([tolerant]).decode_as(tolerant, data)
    assert read == tolerant(colour=TwoOrOther.OTHER)
    with pytest.raises(DecodeError, match=r"'green'.*\$\.colour"):
        Registry([strict]).decode_as(strict, data)


def test_values_that_are_no_text_are_refused_where_the_type_is_used() -> None:
    """Numbers would go out as strings and never come back."""
    with pytest.raises(EventDefinitionError, match=r"Painted\.colour: .* must be text, found \[1, 2\]"):
        avro.schema_of(painted(enum.Enum("Number", {"ONE": 1, "TWO": 2})))
    with pytest.raises(EventDefinitionError, match="must be text"):
        avro.schema_of(painted(Literal["a", 1]))


def test_a_difference_of_symbols_is_shown_and_bytes_alone_ignore_it() -> None:
    """`sixfold schema diff` names them; Avro's own rules, which registries keep, look at the bytes."""
    two, three = avro.schema_of(painted(Two)), avro.schema_of(painted(Three))
    (change,) = difference.changes(two, three)
    assert (change.place, change.what) == ("colour", "symbols")
    assert json.loads(change.after) == ["red", "dark blue", "green"]
    assert resolution.unreadable(two, three)
    assert not resolution.unreadable(two, three, logical=False)
