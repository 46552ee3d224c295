"""The vocabulary of Sixfold: event types, their Avro schemas and samples. Imports nothing of the other packages."""

from sixfold_events.avro import DecodeError
from sixfold_events.event import Declaration, Event, EventDefinitionError

__all__ = ["Declaration", "DecodeError", "Event", "EventDefinitionError"]
