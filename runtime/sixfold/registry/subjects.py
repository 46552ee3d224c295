"""Which subject an event type's schema is a version of."""

from __future__ import annotations

from typing import Any

from sixfold.registry.settings import Strategy
from sixfold_events import canonical


def subject_of(strategy: Strategy, topic: str, schema: Any) -> str:
    """The subject of the values of `topic` that have `schema`."""
    record = canonical.full_name(schema)
    match strategy:
        case Strategy.TOPIC:
            return f"{topic}-value"
        case Strategy.RECORD:
            return record
        case Strategy.TOPIC_RECORD:
            return f"{topic}-{record}"
