"""Events from JSON that somebody wrote: strict, and where it does not fit the error names the field.

The command line's `publish` and the gateway's `POST /events` read events here.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec

from sixfold import errors
from sixfold.bus import port
from sixfold_events import Event, cloudevents, framing

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(.*?)`")
# What a back end adds to a record at most; the check here must not let pass what the bus then refuses.
_OVERHEAD_BYTES = 64
_HEADER_OVERHEAD_BYTES = 16
_TOO_DEEP = "nested too deeply; expected an event's fields, a few levels deep"


class EventDataError(errors.UsageError):
    """JSON that is no event of its type, or one too large. `field` is the place in it, empty for the whole."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"field {field}: {message}" if field else message)
        self.reason = message
        self.field = field


class EventTooLargeError(EventDataError):
    """The event is larger than its topic takes."""


class JsonError(EventDataError):
    """Text that is no JSON, or is nested deeper than any event."""


def parse(data: bytes | str) -> Any:
    """The value of JSON text from outside. Raises JsonError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JsonError(f"not valid JSON: {error}") from error
    except RecursionError as error:
        raise JsonError(_TOO_DEEP) from error


def decode(cls: type[Event], data: bytes | str) -> Event:
    """The event of type `cls` in `data`. Raises EventDataError for a missing, unknown or unfit field."""
    return convert(cls, parse(data))


def convert(cls: type[Event], raw: Any) -> Event:
    """As `decode`, from JSON that is parsed already."""
    if not isinstance(raw, dict):
        raise EventDataError(f"expected a JSON object with the fields of {cls.__event__.type}, found {_kind(raw)}")
    try:
        event = msgspec.convert(raw, cls)
        unknown = _unknown(raw, msgspec.to_builtins(event), "")
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from error
    except RecursionError as error:
        raise JsonError(_TOO_DEEP) from error
    if unknown is not None:
        name, siblings = unknown
        near = difflib.get_close_matches(name.rpartition(".")[2], siblings, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise EventDataError(
            f"{cls.__event__.type} has no such field; {guess}it has: {', '.join(siblings)}", field=name
        )
    return event


def encode(
    event: Event, attributes: cloudevents.Attributes, spec: port.TopicSpec | None, frame: framing.Frame | None = None
) -> port.NewRecord:
    """`event` as a record. Raises EventDataError where Avro cannot hold it or its topic does not take its size."""
    try:
        message = cloudevents.encode(event, attributes, frame)
    except Exception as error:  # fastavro and struct raise many types, for integers beyond 64 bits and lone surrogates
        raise EventDataError(f"does not fit the Avro schema of {event.__event__.type}: {error}") from error
    record = port.NewRecord(
        topic=message.topic,
        value=message.value,
        key=message.key,
        headers=message.headers,
        timestamp_ms=message.timestamp_ms,
    )
    limit = (spec or port.TopicSpec(name=record.topic)).record_bytes_max
    size = size_of(record)
    if size > limit:
        raise EventTooLargeError(
            f"the event takes {size:,} bytes, topic {record.topic} takes at most {limit:,}; "
            "put the content elsewhere and publish a reference to it"
        )
    return record


def size_of(record: port.NewRecord) -> int:
    """Bytes that the record takes at most, with its key and headers."""
    headers = sum(len(name) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers + _OVERHEAD_BYTES


def _unfit(message: str) -> EventDataError:
    place = _PLACE.search(message)
    field = place.group(1) if place else ""
    text = _PLACE.sub("", message).replace("`", "")
    missing = _MISSING.search(message)
    if missing:
        return EventDataError("is required and missing", field=f"{field}.{missing[1]}" if field else missing[1])
    return EventDataError(text[:1].lower() + text[1:], field=field)


def _unknown(raw: Any, known: Any, place: str) -> tuple[str, list[str]] | None:
    """The first field of `raw` that the decoded event did not keep, and the fields that there are."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for name, value in raw.items():
            here = f"{place}.{name}" if place else str(name)
            if name not in known:
                return here, sorted(known)
            found = _unknown(value, known[name], here)
            if found:
                return found
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, kept) in enumerate(zip(raw, known, strict=False)):
            found = _unknown(value, kept, f"{place}[{index}]")
            if found:
                return found
    return None


def _kind(raw: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(raw), "a number")
