"""Event types on the wire: declaration, Avro bodies, CloudEvents headers, ids, and rubbish refused."""

from __future__ import annotations

import datetime
import enum
import io
import json
import string
from pathlib import Path
from typing import Literal

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold_events import DecodeError, Event, EventDefinitionError, avro, cloudevents
from sixfold_events.event import key_of, type_name
from sixfold_events.registry import Registry, SchemaConflictError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct, frozen=True):
    sku: str
    count: int = 1


class Everything(Event, key="name", topic="things", type="thing.seen"):
    """Every kind of field."""

    name: str
    size: int
    weight: float
    good: bool
    raw: bytes
    at: datetime.datetime
    colour: Colour
    mode: Literal["fast", "slow"]
    lines: list[Line]
    counts: dict[str, int]
    note: str | None = None
    more: Line | None = None


class Flat(Event, key="id"):
    id: str
    size: int
    blob: bytes = b"\x00\xff"
    tags: list[str] = msgspec.field(default_factory=list)


MOMENT = datetime.datetime(2014, 11, 12, 17, 0, 0, 123456, tzinfo=datetime.UTC)

EVERYTHING = Everything(
    name="ü",
    size=-(2**63),
    weight=1.5,
    good=True,
    raw=b"\x00\xff",
    at=MOMENT,
    colour=Colour.BLUE,
    mode="slow",
    lines=[Line("a", 2), Line("b")],
    counts={"x": 1},
    more=Line("c"),
)


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("OrderPlaced", "order.placed"),
        ("KMSAudited", "kms.audited"),
        ("GitPushed", "git.pushed"),
        ("V2Thing", "v2.thing"),
    ],
)
def test_the_type_of_an_event_follows_from_its_class_name(class_name: str, expected: str) -> None:
    """CamelCase words become dotted lower-case words."""
    assert type_name(class_name) == expected


def test_an_event_declares_topic_key_and_version() -> None:
    """The class line says all of it, with defaults from the name."""
    assert Everything.__event__ == ("thing.seen", "things", "name", 1, "FULL")
    assert Flat.__event__ == ("flat", "flat", "id", 1, "FULL")
    assert key_of(EVERYTHING) == "ü".encode()


def test_an_event_is_frozen() -> None:
    """What was published cannot be changed by a handler."""
    with pytest.raises(AttributeError):
        EVERYTHING.name = "other"  # type: ignore[misc]


def test_a_key_that_is_no_field_is_refused_where_it_is_declared() -> None:
    """The message names the class and its fields."""
    with pytest.raises(EventDefinitionError, match="key='missing' is no field of it; its fields are: id"):

        class Bad(Event, key="missing"):
            id: str


def test_a_field_without_an_avro_form_is_refused_with_its_name() -> None:
    """No event type can come into the world that cannot be written."""

    class Odd(Event):
        thing: complex

    with pytest.raises(EventDefinitionError, match=r"Odd\.thing"):
        avro.schema_of(Odd)


def test_every_kind_of_field_comes_back_as_it_went() -> None:
    """Encoding and decoding keep every value, nested ones included."""
    registry = Registry([Everything])
    message = cloudevents.encode(EVERYTHING, cloudevents.Attributes(id="1", type="thing.seen", source="/test"))
    assert registry.decode(message.value, message.headers) == EVERYTHING


@given(
    st.builds(
        Flat,
        id=st.text(),
        size=st.integers(-(2**63), 2**63 - 1),
        blob=st.binary(),
        tags=st.lists(st.text(alphabet=string.printable)),
    )
)
def test_any_value_comes_back_as_it_went(event: Flat) -> None:
    """Property: decode(encode(x)) == x."""
    assert avro.codec(Flat).decode(avro.codec(Flat).encode(event)) == event


def test_the_body_is_plain_avro_behind_five_bytes() -> None:
    """Any Avro library reads what we write: 0x00, the schema id, the body."""
    data = avro.codec(Everything).encode(EVERYTHING)
    assert data[0] == 0
    assert int.from_bytes(data[1:5], "big") == avro.fingerprint(avro.schema_of(Everything))
    datum = fastavro.schemaless_reader(io.BytesIO(data[5:]), fastavro.parse_schema(avro.schema_of(Everything)), None)
    assert isinstance(datum, dict)
    assert datum["lines"] == [{"sku": "a", "count": 2}, {"sku": "b", "count": 1}]


def test_the_schema_id_does_not_depend_on_the_docstring() -> None:
    """Better words are no new schema."""
    schema = avro.schema_of(Everything)
    assert avro.fingerprint(schema) == avro.fingerprint({**schema, "doc": "Other words."})
    assert avro.fingerprint(schema) != avro.fingerprint({**schema, "name": "Other"})


@given(st.binary(max_size=60))
def test_rubbish_is_a_decode_error_and_nothing_else(data: bytes) -> None:
    """Whatever bytes arrive, a reader gets an event or a DecodeError."""
    for value in (data, avro.codec(Flat).prefix + data):
        try:
            Registry([Flat]).decode_as(Flat, value)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "tombstone"),
        (b"", "found nothing"),
        (b"{json}", "Confluent-framed"),
        (b"\x00\x00\x00\x00\x01x", "schema id 1, which this process does not know"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(value: bytes | None, message: str) -> None:
    """Each kind of broken value has its own words."""
    with pytest.raises(DecodeError, match=message):
        Registry([Flat]).decode_as(Flat, value)


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    """The reader says which types it knows."""
    with pytest.raises(DecodeError, match="unknown event type 'nope'; known are: flat"):
        Registry([Flat]).decode(b"", [("ce_type", b"nope")])


def test_a_newer_class_reads_events_of_an_older_one() -> None:
    """Schema resolution fills a field that the old writer did not know."""
    old = type(
        "Flat", (Event,), {"__annotations__": {"id": str, "size": int}, "__module__": __name__}, key="id", type="flat"
    )
    registry = Registry([old, Flat])
    decoded = registry.decode_as(Flat, avro.codec(old).encode(old(id="a", size=1)))
    assert decoded == Flat(id="a", size=1)


def test_two_schemas_with_one_id_are_refused_and_both_are_named(tmp_path: Path) -> None:
    """31 bits collide some day (these two do): the process says so instead of taking one's bytes for the other's."""
    schemas = [
        {"type": "record", "name": name, "namespace": "events", "fields": [{"name": "id", "type": "string"}]}
        for name in ("Collide59046", "Collide61082")
    ]
    assert avro.fingerprint(schemas[0]) == avro.fingerprint(schemas[1])
    for number, schema in enumerate(schemas):
        path = tmp_path / f"type{number}" / "v1.avsc"
        path.parent.mkdir()
        path.write_text(json.dumps(schema))
    with pytest.raises(SchemaConflictError, match=r"type1/v1\.avsc and .*type0/v1\.avsc .* same id 211481793"):
        Registry(folders=[tmp_path])
    registry = Registry([Flat])
    registry.add(Flat)  # the same again is no conflict
    registry.learn(7, schemas[0])
    with pytest.raises(SchemaConflictError, match="schema 7"):
        registry.learn(7, schemas[1])


def test_headers_are_those_of_the_cloudevents_binding() -> None:
    """Attributes are `ce_` headers, absent ones are left out, and they read back."""
    attributes = cloudevents.Attributes(id="1", type="flat", source="/x", time_ms=1415811600123, causation_id="0")
    headers = dict(cloudevents.headers_of(attributes))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_type": b"flat",
        "ce_source": b"/x",
        "ce_time": b"2014-11-12T17:00:00.123Z",
        "content-type": b"application/avro",
        "ce_correlationid": b"1",
        "ce_causationid": b"0",
    }
    read = cloudevents.attributes_of(list(headers.items()), 1415811600123)
    assert read == msgspec.structs.replace(attributes, correlation_id="1")


def test_an_emitted_event_has_the_same_id_at_every_delivery() -> None:
    """The id follows from what was handled, wherever it lies, and differs for everything else."""
    events = [cloudevents.Attributes(id=event_id, type="t", source=source) for event_id in "01" for source in "01"]
    places = [(topic, partition, offset) for topic in ("t", "u") for partition in range(2) for offset in range(3)]
    causes = {
        *(cloudevents.cause_of(*place) for place in places),
        *(cloudevents.cause_of(topic, 0, 1, each) for topic in ("t", "u") for each in events),
    }
    assert len(causes) == 20
    ids = {cloudevents.derived_id(function, cause, index) for function in "fg" for cause in causes for index in (0, 1)}
    assert len(ids) == 80
    assert cloudevents.cause_of("t", 0, 1, events[0]) == cloudevents.cause_of("t", 1, 7, events[0])
    nameless = msgspec.structs.replace(events[0], id="")
    assert cloudevents.cause_of("t", 0, 1, nameless) == cloudevents.cause_of("t", 0, 1)
    assert cloudevents.identity_of([("ce_id", b"1"), ("ce_source", b"/a")]) == b"/a\x001"
    assert cloudevents.identity_of([("ce_source", b"/a")]) is None
