"""Event types: frozen, typed records that declare their topic, key and version.

Neighbours: `avro.py` derives the Avro schema and the codec from a type, `cloudevents.py` puts an event on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import msgspec

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


class Declaration(NamedTuple):
    """What an event type says of itself."""

    type: str
    """CloudEvents `type`, such as `git.pushed`; derived from the class name unless given."""
    topic: str
    """Topic that events of this type are published to; the type unless given."""
    key: str | None
    """Name of the field that is the record's key (partitioning, compaction); None for no key."""
    version: int
    """Schema version, 1 and up; a new version must be compatible with all earlier ones."""
    compatibility: str
    """`BACKWARD` (new readers read old events) or `FULL` (and old readers new ones); both against every version."""


class EventDefinitionError(TypeError):
    """An event class declares something that cannot work; the message names the class and the mend."""


def type_name(class_name: str) -> str:
    """`OrderPlaced` -> `order.placed`, `KMSAudited` -> `kms.audited`."""
    return ".".join(word.lower() for word in _WORD.findall(class_name))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class EventMeta(msgspec.StructMeta):
    """Makes every event class frozen and keyword-only, and keeps its declaration in `__event__`."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        topic: str | None = None,
        key: str | None = None,
        version: int = 1,
        type: str | None = None,  # noqa: A002 (CloudEvents' own word)
        compatibility: str = "FULL",
    ) -> EventMeta:
        cls = super().__new__(mcls, name, bases, namespace, frozen=True, kw_only=True)
        event_type = type or type_name(name)
        if compatibility not in ("BACKWARD", "FULL"):
            raise EventDefinitionError(f"{name}: compatibility is {compatibility!r}, expected BACKWARD or FULL")
        if version < 1:
            raise EventDefinitionError(f"{name}: version is {version}, expected 1 or more")
        if key is not None and key not in cls.__struct_fields__:
            known = ", ".join(cls.__struct_fields__) or "none"
            raise EventDefinitionError(f"{name}: key={key!r} is no field of it; its fields are: {known}")
        cls.__event__ = Declaration(event_type, topic or event_type, key, version, compatibility)  # type: ignore[attr-defined]
        return cls


# Said of the class too: type checkers heed what msgspec says of its Struct before what a metaclass says.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Event(msgspec.Struct, metaclass=EventMeta):
    """Base of every event type.

    A subclass lists its fields with types and declares itself in the class line::

        class OrderPlaced(Event, key="order_id"):
            order_id: str
            amount_cents: int

    Its type and topic are then `order.placed`, its version 1. `topic=`, `type=`, `version=` and `compatibility=`
    say otherwise. Fields may be str, int, float, bool, bytes, datetime, Enum, Literal, Optional, list, dict with str
    keys, and msgspec Structs of these. Values of an Enum or Literal are text; an Enum whose `_missing_` returns a member
    reads symbols that later versions add as that one, others refuse them.
    """

    __event__: ClassVar[Declaration]


def key_of(event: Event) -> bytes | None:
    """The record key of `event` as UTF-8 bytes (bytes fields as they are), None where its type declares no key."""
    field = event.__event__.key
    if field is None:
        return None
    value = getattr(event, field)
    return value if isinstance(value, bytes) else str(value).encode()


def by_type(events: Iterable[type[Event]]) -> dict[str, type[Event]]:
    """Index event classes by CloudEvents type; the newest version of a type wins."""
    index: dict[str, type[Event]] = {}
    for cls in events:
        known = index.get(cls.__event__.type)
        if known is None or known.__event__.version < cls.__event__.version:
            index[cls.__event__.type] = cls
    return index
