"""Names of spans and attributes, in one table: OpenTelemetry's semantic conventions for messaging, and our own. Pure.

The conventions are still in development and rename: `OTEL_SEMCONV_STABILITY_OPT_IN=messaging` chooses the new names,
`messaging/dup` writes both. Source: opentelemetry.io/docs/specs/semconv/messaging (1.45 for the new names).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Value = str | int | bool
OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


class Name(NamedTuple):
    """How one attribute is called."""

    before: str
    after: str


def _same(name: str) -> Name:
    return Name(name, name)


TABLE: dict[str, Name] = {
    "system": Name("messaging.system", "messaging.system.name"),
    "operation": _same("messaging.operation.name"),
    "operation_type": _same("messaging.operation.type"),
    "topic": _same("messaging.destination.name"),
    "partition": _same("messaging.destination.partition.id"),
    "group": _same("messaging.consumer.group.name"),
    "batch": _same("messaging.batch.message_count"),
    "id": _same("messaging.message.id"),
    "offset": Name("messaging.kafka.offset", "kafka.offset"),
    "key": Name("messaging.kafka.message.key", "kafka.message.key"),
    "error": _same("error.type"),
    "correlation": _same("sixfold.correlation_id"),
    "causation": _same("sixfold.causation_id"),
    "type": _same("cloudevents.event_type"),
    "attempt": _same("sixfold.attempt"),
    "failed": _same("sixfold.batch.failed_count"),
}
"""What is told, by our own short names."""

SEND, CREATE, PROCESS = "send", "create", "process"
"""Operations: an event is published; one is made that is published with others; records are handled."""


class Names:
    """The table under one choice of names."""

    def __init__(self, opt_in: str = "") -> None:
        chosen = {word.strip() for word in opt_in.split(",")}
        both, new = "messaging/dup" in chosen, "messaging" in chosen
        self._names = {
            key: tuple(dict.fromkeys(name)) if both else (name.after if new else name.before,)
            for key, name in TABLE.items()
        }

    def attributes(self, values: Mapping[str, Value | None]) -> dict[str, Value]:
        """`values`, by the table's short names, under the names to tell them by; empty ones are left out."""
        return {
            name: value
            for key, value in values.items()
            if value is not None and value != ""
            for name in self._names[key]
        }
