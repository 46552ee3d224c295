"""How a record names its schema: an id before the body, a GUID beside it; both are read, the header first."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from sixfold_events import DecodeError, Event, avro, canonical, cloudevents, framing
from sixfold_events.registry import Registry, UnknownSchemaError


class Line(Event, type="wire.line"):
    sku: str
    count: int = 1


class Order(Event, type="wire.order", key="order_id"):
    order_id: str
    total_cents: int


ORDER = Order(order_id="o-1", total_cents=1999)
ATTRIBUTES = cloudevents.Attributes(id="1", type="wire.order", source="/test")
NARROW = {
    "type": "record",
    "name": "Order",
    "namespace": "wire",
    "fields": [{"name": "order_id", "type": "string"}, {"name": "total_cents", "type": "int"}],
}


def body(event: Event) -> bytes:
    return avro.codec(type(event)).encode(event, b"")


def test_a_frame_of_an_id_is_the_confluent_prefix() -> None:
    """0x00, the id in four bytes, the body; no header more."""
    message = cloudevents.encode(ORDER, ATTRIBUTES, framing.by_id(7))
    assert message.value == b"\x00\x00\x00\x00\x07" + body(ORDER)
    assert framing.HEADER not in dict(message.headers)


def test_a_frame_of_a_guid_is_a_header_beside_the_bare_body() -> None:
    """`__value_schema_id` holds 0x01 and sixteen bytes, after the headers that every event has."""
    guid = uuid.uuid4()
    message = cloudevents.encode(ORDER, ATTRIBUTES, framing.by_guid(guid))
    assert message.value == body(ORDER)
    assert message.headers[-1] == (framing.HEADER, b"\x01" + guid.bytes)
    assert framing.read(message.value, message.headers) == (guid, 0)


def test_the_header_is_believed_before_the_value() -> None:
    """A body may begin like a prefix; whoever wrote a header said what it is."""
    value = b"\x00\x00\x00\x00\x07rest"
    assert framing.read(value, [(framing.HEADER, b"\x00\x00\x00\x00\x09")]) == (9, 0)
    assert framing.read(value, [("other", b"x"), (framing.HEADER, None)]) == (7, 5)


def test_a_guid_may_stand_before_the_body_as_well() -> None:
    """0x01 and sixteen bytes, as Confluent's own deserializers take it."""
    guid = uuid.uuid4()
    assert framing.read(b"\x01" + guid.bytes + b"body", []) == (guid, 17)


@pytest.mark.parametrize("data", [b"", b"\x00\x00", b"\x01short", b"{json}"])
def test_what_names_no_schema_is_refused(data: bytes) -> None:
    """In the value and in the header, with what was expected."""
    with pytest.raises(DecodeError, match="Confluent-framed"):
        framing.read(data, [])
    with pytest.raises(DecodeError, match="header __value_schema_id"):
        framing.read(b"\x00\x00\x00\x00\x07", [(framing.HEADER, data)])


def test_a_record_of_a_known_schema_is_read_by_its_guid_without_a_server() -> None:
    """The GUID is a digest of the schema, so a process that has the class knows it."""
    guid = canonical.guid(canonical.text(avro.schema_of(Order)))
    message = cloudevents.encode(ORDER, ATTRIBUTES, framing.by_guid(guid))
    assert Registry([Line, Order]).decode(message.value, message.headers) == ORDER


def test_an_older_version_is_read_by_its_guid_from_the_frozen_files(tmp_path: Path) -> None:
    """Frozen schemas count as known, and what they lack is filled in."""
    frozen = {**avro.schema_of(Line), "fields": avro.schema_of(Line)["fields"][:1]}
    (tmp_path / "wire.line").mkdir()
    (tmp_path / "wire.line" / "v1.avsc").write_text(json.dumps(frozen))
    headers = [("ce_type", b"wire.line"), *framing.by_guid(canonical.guid(canonical.text(frozen))).headers]
    assert Registry([Line], [tmp_path]).decode(b"\x04ab", headers) == Line(sku="ab")


def test_an_id_that_a_registry_gave_is_known_once_it_was_learnt() -> None:
    """Before that the error carries the id, so that somebody can ask for it."""
    registry = Registry([Order])
    value = b"\x00\x00\x00\x00\x07" + body(ORDER)
    with pytest.raises(UnknownSchemaError, match="schema id 7") as caught:
        registry.decode_as(Order, value)
    assert caught.value.identifier == 7
    registry.learn(7, NARROW)
    assert registry.decode_as(Order, value) == ORDER
    unknown = uuid.uuid4()
    with pytest.raises(UnknownSchemaError) as caught:
        registry.decode_as(Order, body(ORDER), framing.by_guid(unknown).headers)
    assert caught.value.identifier == unknown
    registry.learn(unknown, NARROW)
    assert registry.decode_as(Order, body(ORDER), framing.by_guid(unknown).headers) == ORDER


def test_a_writer_uses_the_frame_that_it_was_told() -> None:
    """Per event type; others keep their fingerprint."""
    registry = Registry([Order, Line])
    registry.use_frame(Order, framing.by_id(7))
    assert registry.frame_of(Order) == framing.by_id(7)
    assert registry.frame_of(Line) is None
