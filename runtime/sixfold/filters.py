"""Which records a function is called for: patterns over all that a record is, its decoded value included.

A filter is one pattern or several, one of which must match (`patterns.py` has the language). Its fields:

============= ==========================================================================================
field         is
============= ==========================================================================================
`value`       the event's fields, decoded from Avro
`key`         the record's key as text
`headers`     an object of the record's headers as text; of a repeated one all values, as an array
`attributes`  an object of the CloudEvents attributes: `id`, `type`, `source`, `time` and the extensions
`topic`       where the record lies, and so `partition`, `offset`, and `timestamp` in Unix milliseconds
============= ==========================================================================================

A record that is filtered out counts as done. Its value is decoded only where a pattern asks for it and all else
fits; one that cannot be decoded then is a dead letter, as without a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sixfold import patterns
from sixfold.bus import port
from sixfold_events import Event

FIELDS = ("topic", "partition", "offset", "timestamp", "key", "headers", "attributes", "value")
"""In the order in which they are looked at: what is cheap comes first."""
Pattern = Mapping[str, Any]


class Filter:
    """Compiled patterns. Raises PatternError where one is malformed or names a field that no record has."""

    def __init__(self, given: Sequence[Pattern]) -> None:
        self._tests = []
        for pattern in given:
            if isinstance(pattern, Mapping):
                unknown = sorted(set(_names(pattern)) - set(FIELDS))
                if unknown:
                    raise patterns.PatternError(
                        f"{unknown[0]}: no field of a record; expected one of {', '.join(FIELDS)}. "
                        f'Fields of the event lie below "value": {{"value": {{{unknown[0]!r}: …}}}}'
                    )
                pattern = dict(sorted(pattern.items(), key=lambda item: _cost(item[0])))
            self._tests.append(patterns.compile_pattern(pattern))

    def admits(self, record: port.Record, decode: Callable[[], Event]) -> bool:
        """Whether the function wants `record`; `decode` gives its event and may raise DecodeError, which passes."""
        view = _View(record, decode)
        return any(test(view) for test in self._tests)


def _names(pattern: Pattern) -> Iterator[str]:
    for name, inner in pattern.items():
        if name != "$or":
            yield name
        elif isinstance(inner, (list, tuple)):
            for each in inner:
                if isinstance(each, Mapping):
                    yield from _names(each)


def _cost(name: str) -> int:
    return FIELDS.index(name) if name in FIELDS else len(FIELDS)


class _View(Mapping[str, Any]):
    """A record as an object; each field is made when it is asked for."""

    __slots__ = ("_decode", "_known", "_record")

    def __init__(self, record: port.Record, decode: Callable[[], Event]) -> None:
        self._record = record
        self._decode = decode
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._make(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)

    def _make(self, name: str) -> Any:
        record = self._record
        if name == "value":
            return msgspec.to_builtins(self._decode())
        if name == "headers":
            return _grouped((header, _text(data)) for header, data in record.headers)
        if name == "attributes":
            found = {header[3:]: _text(data) for header, data in record.headers if header.startswith("ce_")}
            found.update({h: _text(data) for h, data in record.headers if h in ("traceparent", "tracestate")})
            return found
        if name == "key":
            return _text(record.key)
        plain = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
        }
        return plain[name]


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _grouped(pairs: Iterator[tuple[str, str | None]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found
