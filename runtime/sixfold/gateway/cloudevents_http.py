"""Publishing over HTTP: `POST /events` takes CloudEvents in binary, structured and batched mode.

Every event is checked against its type before any is stored; a batch is stored whole or not at all as far as the bus
can (one `publish`). Sources: CloudEvents HTTP Protocol Binding 1.0.2, CloudEvents JSON Format 1.0.2.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sixfold import bus, catalogue, json_events
from sixfold import clock as clocks
from sixfold.gateway.observation import Observation
from sixfold.gateway.problems import Problem
from sixfold.gateway.route import Gateway, Route
from sixfold.json_events import EventDataError
from sixfold.registry import schemas
from sixfold.registry.failures import RegistryError
from sixfold_events import DecodeError, Event, cloudevents
from sixfold_events.registry import Registry, UnknownSchemaError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
AVRO = ("application/avro", "avro/binary")
EVENTS_MAX = 10_000
"""Events in one batch; the body's limit of 8 MiB comes first unless they are tiny."""
_ATTRIBUTE_CHARS_MAX = 1024
_PUBLISH_WAIT_S = 30.0
_REQUIRED = ("id", "source", "type", "specversion")


def routes(gateway: Gateway, known: catalogue.Catalogue, observed: Observation) -> list[Route]:
    """`POST /events`."""
    process = gateway.process
    clock, opened, registry = process.clock, process.require_bus(), process.registry

    async def check(item: Mapping[str, Any], index: int | None) -> bus.NewRecord:
        try:
            attributes = attributes_of(item, clock)
            cls = registry.class_of(attributes.type)
            if cls is None:
                raise catalogue.unknown(
                    "event type", attributes.type, registry.classes, "`sixfold event types` lists all"
                )
            return await encode(await schemas.decoded(process, lambda: data_of(item, cls, registry)), attributes)
        except catalogue.UnknownNameError as error:
            raise _placed(422, str(error), "type", index) from error
        except json_events.EventTooLargeError as error:
            raise _placed(413, error.reason, error.field, index) from error
        except EventDataError as error:
            raise _placed(422, error.reason, error.field, index) from error
        except DecodeError as error:
            raise _placed(422, f"not an Avro body in base64: {error}", "data_base64", index) from error

    async def encode(event: Event, attributes: cloudevents.Attributes) -> bus.NewRecord:
        topic = event.__event__.topic
        try:
            frame = await schemas.frame_of(process, type(event))
        except RegistryError as error:
            raise Problem(409, str(error)) from error
        try:
            return json_events.encode(event, attributes, known.topic(topic), frame)
        except json_events.EventTooLargeError:
            # Whoever made the topic may have given it more than the declaration says.
            made = (await opened.topics()).get(topic)
            if made is None:
                raise
            return json_events.encode(event, attributes, made, frame)

    async def publish(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        if media == BATCH:
            items = _json(body)
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise Problem(400, f"{BATCH}: expected an array of CloudEvents")
            if len(items) > EVENTS_MAX:
                raise Problem(413, f"a batch takes at most {EVENTS_MAX:,} events, found {len(items):,}")
            records = [await check(item, index) for index, item in enumerate(items)]
        elif media == STRUCTURED:
            item = _json(body)
            if not isinstance(item, dict):
                raise Problem(400, f"{STRUCTURED}: expected one CloudEvent as an object")
            records = [await check(item, None)]
        elif media in (JSON, *AVRO, ""):
            records = [await check(_binary(request, media, body), None)]
        else:
            raise Problem(415, f"content type {media!r}: expected {JSON}, {AVRO[0]}, {STRUCTURED} or {BATCH}")
        async with asyncio.timeout(_PUBLISH_WAIT_S):
            positions = await opened.publish(records) if records else []
        answer = []
        for record, position in zip(records, positions, strict=True):
            attributes = cloudevents.attributes_of(record.headers)
            observed.published(attributes.type)
            answer.append({"id": attributes.id, **position._asdict()})
        return Response(msgspec.json.encode({"positions": answer}), media_type=JSON)

    return [Route(path="/events", endpoint=publish, methods=("POST",))]


def attributes_of(item: Mapping[str, Any], clock: clocks.Clock) -> cloudevents.Attributes:
    """The context attributes of a CloudEvent in JSON form. Raises EventDataError naming the attribute."""
    for name, value in item.items():
        if name not in ("data", "data_base64") and isinstance(value, str) and len(value) > _ATTRIBUTE_CHARS_MAX:
            raise EventDataError(f"takes at most {_ATTRIBUTE_CHARS_MAX} characters", field=name)
    for name in _REQUIRED:
        value = item.get(name)
        if not isinstance(value, str) or not value:
            raise EventDataError("is required: a CloudEvents attribute, a non-empty string", field=name)
    if item["specversion"] != "1.0":
        raise EventDataError(f"expected 1.0, found {item['specversion']!r}", field="specversion")
    return cloudevents.Attributes(
        id=item["id"],
        type=item["type"],
        source=item["source"],
        time_ms=_time_ms(item.get("time"), clock),
        correlation_id=_text(item, "correlationid"),
        causation_id=_text(item, "causationid"),
        traceparent=_text(item, "traceparent"),
    )


def data_of(item: Mapping[str, Any], cls: type[Event], registry: Registry) -> Event:
    """The event in a CloudEvent's `data` (JSON) or `data_base64` (Avro in the Confluent wire format)."""
    if "data" in item and "data_base64" in item:
        raise EventDataError("give data or data_base64, not both", field="data")
    if "data_base64" in item:
        try:
            return registry.decode_as(cls, base64.b64decode(item["data_base64"], validate=True))
        except UnknownSchemaError:
            raise
        except (binascii.Error, TypeError, ValueError) as error:  # DecodeError is a ValueError
            raise EventDataError(f"not an Avro body in base64: {error}", field="data_base64") from error
    if "data" not in item:
        raise EventDataError(f"is required: the fields of {item['type']}", field="data")
    try:
        return json_events.convert(cls, item["data"])
    except EventDataError as error:
        raise EventDataError(error.reason, field=f"data.{error.field}" if error.field else "data") from error


def _binary(request: Request, media: str, body: bytes) -> dict[str, Any]:
    """A binary-mode request in the JSON form of the same event."""
    item: dict[str, Any] = {}
    for name, value in request.headers.items():
        if name.startswith("ce-"):
            # HTTP binding 3.1.3.2: values are percent-encoded where they hold other than printable ASCII.
            item[name[3:]] = urllib.parse.unquote(value)
    if not item:
        raise Problem(
            400, f"no CloudEvent: give ce-id, ce-type, ce-source and ce-specversion headers, or send {STRUCTURED}"
        )
    if "traceparent" in request.headers:
        item.setdefault("traceparent", request.headers["traceparent"])
    if media in AVRO:
        item["data_base64"] = base64.b64encode(body).decode()
    else:
        item["data"] = _json(body)
    return item


def _json(body: bytes) -> Any:
    try:
        return json_events.parse(body)
    except json_events.JsonError as error:
        raise Problem(400, f"the body is {error.reason}") from error


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name, "")
    if not isinstance(value, str):
        raise EventDataError("expected a string", field=name)
    return value


def _time_ms(value: Any, clock: clocks.Clock) -> int:
    if value is None:
        return clocks.now_ms(clock)
    try:
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no offset from UTC")
        return int(moment.timestamp() * 1000)
    except (TypeError, ValueError, OverflowError) as error:
        raise EventDataError(f"expected RFC 3339 such as 2014-11-12T17:00:00Z: {error}", field="time") from error


def _placed(status: int, reason: str, field: str, index: int | None) -> Problem:
    place = "" if index is None else f"event {index}: "
    problem = Problem(status, f"{place}{f'field {field}: ' if field else ''}{reason}")
    if field:
        problem.fields["field"] = field
    if index is not None:
        problem.fields["index"] = index
    return problem
