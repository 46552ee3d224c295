"""A record for a reader: decoded as a CloudEvent where that is possible, raw where it is not. Never raises."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
from rich.text import Text

from sixfold import bus
from sixfold_events import DecodeError, cloudevents
from sixfold_events.registry import Registry


def as_json(record: bus.Record, registry: Registry) -> dict[str, Any]:
    """The record as a CloudEvent in JSON form; its place in the log is in the extensions topic, partition, offset.

    One that cannot be decoded has its bytes in `data_base64` and says why in the extension `decodeerror`.
    Source: CloudEvents JSON Format 1.0.2.
    """
    attributes = cloudevents.attributes_of(record.headers, record.timestamp_ms)
    item: dict[str, Any] = {
        "specversion": "1.0",
        "id": attributes.id or f"{record.topic}-{record.partition}-{record.offset}",
        "type": attributes.type or "unknown",
        "source": attributes.source or "unknown",
        "time": cloudevents.rfc3339(record.timestamp_ms).decode(),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
    if record.key is not None:
        item["partitionkey"] = _text(record.key)
    for name, value in (
        ("correlationid", attributes.correlation_id),
        ("causationid", attributes.causation_id),
        ("traceparent", attributes.traceparent),
    ):
        if value:
            item[name] = value
    if record.value is None:
        item["tombstone"] = True
        return item
    try:
        item["data"] = msgspec.to_builtins(registry.decode(record.value, record.headers))
        item["datacontenttype"] = "application/json"
    except DecodeError as error:
        item["data_base64"] = base64.b64encode(record.value).decode()
        item["datacontenttype"] = "application/octet-stream"
        known = registry.class_of(attributes.type) is not None
        item["decodeerror"] = str(error) if known else "unknown event type; --app names the code that defines it"
    return item


def as_text(record: bus.Record, registry: Registry) -> Text:
    """The record as one line: time, position, key, type, data. Control characters are escaped."""
    item = as_json(record, registry)
    line = Text(overflow="ignore", no_wrap=True)
    line.append(f"{item['time']} ", style="dim")
    line.append(f"{record.topic}:{record.partition}:{record.offset} ", style="cyan")
    if record.key is not None:
        line.append(f"{_plain(_text(record.key))} ", style="magenta")
    line.append(f"{_plain(item['type'])} ", style="bold")
    if "data" in item:
        line.append(_plain(msgspec.json.encode(item["data"]).decode()))
    elif "tombstone" in item:
        line.append("(tombstone)", style="yellow")
    else:
        line.append(f"(cannot be decoded: {_plain(item['decodeerror'])}) {(record.value or b'').hex()}", style="yellow")
    return line


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _plain(text: str) -> str:
    """Without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
