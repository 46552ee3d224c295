"""Is what a handler emitted small enough to be stored? Asked per record, so that one event too large fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sixfold import errors
from sixfold.bus import port
from sixfold.function import AnyFunction


class OutputTooLargeError(errors.PermanentError):
    """A handler emitted an event that is larger than its topic allows; trying again makes it no smaller."""


class OutputCheck:
    """Knows the limits of topics."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}

    def learn(self, topics: Mapping[str, port.TopicSpec]) -> None:
        """Take the limits from `topics`, the bus's own word."""
        self._limits = {name: spec.record_bytes_max for name, spec in topics.items()}

    def check(self, function: AnyFunction, outputs: Sequence[port.NewRecord]) -> None:
        """Raises OutputTooLargeError where one of `outputs` exceeds its topic's limit."""
        for output in outputs:
            limit = self._limits.get(output.topic)
            if limit is not None and (size := bytes_of(output)) > limit:
                raise OutputTooLargeError(
                    f"{function.name} emitted a record of {size} bytes to {output.topic}, which takes {limit}; "
                    "store large data elsewhere and emit where it is"
                )


def bytes_of(record: port.NewRecord) -> int:
    """What a record counts for: its key, value and headers."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers
