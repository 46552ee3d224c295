"""Which event a record holds for a function: the hot path's cheap look at the type, then the Avro body.

=======================================================  ==============================================
the record's `ce_type`                                   becomes
=======================================================  ==============================================
a type of the function's `on`                            the event; `DecodeError` where its body is none
the same, and the function's `filter` lets none through  skipped
another type that this process knows                     skipped: several types share the topic
unknown, on a topic with several known types             skipped: a newer producer added a type
unknown, on a topic with one known type; or no type      `DecodeError`
=======================================================  ==============================================

A tombstone (no value) says that a key is gone; no handler can be given it, so it is skipped.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sixfold import filters
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold_events import DecodeError, Event, avro
from sixfold_events.registry import Registry
from sixfold_events.system import Tick

_TYPE_INDEX = 2
"""Where our own publisher writes `ce_type` (cloudevents.headers_of); other producers' headers are searched."""


class Intake:
    """Decodes the records of one function."""

    def __init__(self, function: AnyFunction, registry: Registry) -> None:
        self._function = function
        self._registry = registry
        self._classes = {cls.__event__.type.encode(): cls for cls in function.on}
        self._known = {name.encode() for name in registry.classes}
        by_topic: dict[str, set[str]] = {topic: set() for topic in function.topics}
        for cls in (*registry.classes.values(), *function.on):
            if cls.__event__.topic in by_topic:
                by_topic[cls.__event__.topic].add(cls.__event__.type)
        self._filter = filters.Filter(function.filter) if function.filter else None
        plain = self._filter is None and Tick not in function.on
        self._plain = {name: avro.codec(cls) for name, cls in self._classes.items()} if plain else {}
        """By type, where every event is for the handler."""
        self._single = {topic for topic, types in by_topic.items() if len(types) == 1}

    def event(self, record: port.Record) -> Event | None:
        """The event, None where the record is to be skipped. Raises DecodeError."""
        value = record.value
        if value is None:
            return None
        name = type_of(record)
        codec = self._plain.get(name)
        if codec is not None and value.startswith(codec.prefix):
            return codec.decode_own(value)  # what `decode_as` comes to, without the way there
        cls = self._classes.get(name)
        if cls is not None:
            return self._chosen(cls, record, value)
        if name and (name in self._known or record.topic not in self._single):
            return None
        expected = ", ".join(each.__event__.type for each in self._function.on)
        found = f"the unknown type {name.decode(errors='replace')!r}" if name else "no ce_type header"
        raise DecodeError(f"{self._function.name}: expected an event of {expected} on {record.topic}, found {found}")

    def _chosen(self, cls: type[Event], record: port.Record, value: bytes) -> Event | None:
        """The event if it is one of the function's own ticks, or its filter admits it."""
        decoded: list[Event] = []

        def decode() -> Event:
            if not decoded:
                decoded.append(self._registry.decode_as(cls, value, record.headers))
            return decoded[0]

        if cls is Tick:
            tick = decode()
            return tick if isinstance(tick, Tick) and tick.function == self._function.name else None
        if self._filter is not None and not self._filter.admits(record, decode):
            return None
        return decode()


class RawIntake:
    """Gives a function of raw topics the records themselves, tombstones too; its filter reads values as JSON or text."""

    def __init__(self, function: AnyFunction) -> None:
        self._filter = filters.Filter(function.filter) if function.filter else None

    def event(self, record: port.Record) -> Any:
        """The record, None where it is filtered out."""
        if self._filter is None or self._filter.admits(record, lambda: _plain(record.value)):
            return record
        return None


def _plain(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value.decode(errors="replace")


def type_of(record: port.Record) -> bytes:
    """The record's `ce_type`, empty where it has none."""
    headers = record.headers
    if len(headers) > _TYPE_INDEX and headers[_TYPE_INDEX][0] == "ce_type":
        return headers[_TYPE_INDEX][1] or b""
    for name, data in headers:
        if name == "ce_type":
            return data or b""
    return b""
