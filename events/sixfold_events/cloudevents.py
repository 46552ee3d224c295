"""CloudEvents 1.0 in Kafka's binary binding: attributes as `ce_*` headers, the Avro body as the record's value.

Source: CloudEvents Kafka Protocol Binding 1.0.2, section 3.2 (binary content mode). `traceparent` keeps the W3C
header name, which tracing libraries look for.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from sixfold_events.avro import codec
from sixfold_events.event import Event, key_of
from sixfold_events.framing import Frame

Header = tuple[str, bytes]
CONTENT_TYPE = b"application/avro"


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """The CloudEvents context of one event."""

    id: str
    type: str
    source: str
    time_ms: int = 0
    correlation_id: str = ""
    """Id of the first event of the chain that led to this one; its own id for the first."""
    causation_id: str = ""
    """Id of the event whose handling emitted this one; empty for the first."""
    traceparent: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """An event ready for a bus: topic, key, value and headers as bytes."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[Header]
    timestamp_ms: int


def encode(event: Event, attributes: Attributes, frame: Frame | None = None) -> Message:
    """Put `event` on the wire with `attributes`; `frame` says how its schema is named, by its fingerprint if None."""
    declaration = event.__event__
    headers = headers_of(attributes)
    if frame is not None:
        headers += frame.headers
    return Message(
        topic=declaration.topic,
        key=key_of(event),
        value=codec(type(event)).encode(event, frame.prefix if frame is not None else None),
        headers=headers,
        timestamp_ms=attributes.time_ms,
    )


def headers_of(attributes: Attributes) -> list[Header]:
    """`attributes` as record headers; empty optional ones are left out."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", attributes.id.encode()),
        ("ce_type", attributes.type.encode()),
        ("ce_source", attributes.source.encode()),
        ("ce_time", rfc3339(attributes.time_ms)),
        ("content-type", CONTENT_TYPE),
        ("ce_correlationid", (attributes.correlation_id or attributes.id).encode()),
    ]
    if attributes.causation_id:
        headers.append(("ce_causationid", attributes.causation_id.encode()))
    if attributes.traceparent:
        headers.append(("traceparent", attributes.traceparent.encode()))
    return headers


def attributes_of(headers: Iterable[Header], timestamp_ms: int = 0) -> Attributes:
    """Read `Attributes` back from record headers; absent ones are empty."""
    found = dict(headers).get
    return Attributes(
        id=(found("ce_id") or b"").decode("utf-8", "replace"),
        type=(found("ce_type") or b"").decode("utf-8", "replace"),
        source=(found("ce_source") or b"").decode("utf-8", "replace"),
        time_ms=timestamp_ms,
        correlation_id=(found("ce_correlationid") or b"").decode("utf-8", "replace"),
        causation_id=(found("ce_causationid") or b"").decode("utf-8", "replace"),
        traceparent=(found("traceparent") or b"").decode("utf-8", "replace"),
    )


def identity_of(headers: Iterable[Header]) -> bytes | None:
    """What tells an event from every other one, its source and id (CloudEvents 1.0.2, section 3.1); None without an id."""
    found = dict(headers).get
    event_id = found("ce_id")
    return (found("ce_source") or b"") + b"\0" + event_id if event_id else None


def cause_of(topic: str, partition: int, offset: int, attributes: Attributes | None = None) -> str:
    """What `derived_id` derives from: the event by its topic, source and id where `attributes` has one, else its place."""
    if attributes is not None and attributes.id:
        return f"event\0{topic}\0{attributes.source}\0{attributes.id}"
    return f"{topic}\0{partition}\0{offset}"


def derived_id(function: str, cause: str, index: int) -> str:
    """Id of the `index`-th event that `function` emits because of `cause` (`cause_of`). 32 hex digits.

    The same for every delivery of an event, also where its sender sent it twice, so whoever knows what it has handled
    can drop what comes of the second one, through however many functions it came.
    """
    return hashlib.blake2b(f"{function}\0{cause}\0{index}".encode(), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=1024)
def rfc3339(time_ms: int) -> bytes:
    """`time_ms` as RFC 3339 in UTC with milliseconds, such as 2014-11-12T17:00:00.000Z."""
    moment = datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z".encode()
