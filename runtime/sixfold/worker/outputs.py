"""Is what a handler emitted and wrote small enough to be stored? Asked per record, so that one too large fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sixfold import errors, timers
from sixfold.bus import checking, port
from sixfold.context import RowTooLargeError
from sixfold.function import AnyFunction
from sixfold.worker.limits import DEFAULT

OVERHEAD_BYTES = 100
"""What an output or a row counts for beside its data: lengths, header frames, its table's name."""


class OutputTooLargeError(errors.PermanentError):
    """A handler emitted an event, or in all more, than can be stored; trying again makes it no smaller."""


class OutputCheck:
    """Knows the limits of topics."""

    def __init__(self, result_bytes_max: int = DEFAULT.result_bytes_max) -> None:
        self._result_bytes_max = result_bytes_max
        self._limits: dict[str, int] = {}
        self._partitions: dict[str, int] = {}

    def learn(self, topics: Mapping[str, port.TopicSpec]) -> None:
        """Take the limits from `topics`, the bus's own word."""
        self._limits = {name: spec.record_bytes_max for name, spec in topics.items()}
        self._partitions = {name: spec.partitions for name, spec in topics.items()}

    def partitions_of(self, topic: str) -> int:
        """How many partitions `topic` had when it was looked at; 0 for one that was not there."""
        return self._partitions.get(topic, 0)

    def measure(self, function: AnyFunction, outputs: Sequence[port.NewRecord], rows: port.State) -> int:
        """Bytes of what a handler made of one record.

        Raises OutputTooLargeError where an output, or what is to be one at its time, exceeds its topic's limit, or all
        together what is settled at once; RowTooLargeError for a timer's row, others were checked when they were put.
        """
        total = 0
        for output in outputs:
            total += self._checked(function, output) + OVERHEAD_BYTES
        for (table, _), written in rows.items():
            if table == timers.TABLE:
                self._check_timers(function, written)
            total += rows_bytes(written)
        if total > self._result_bytes_max:
            count = sum(map(len, rows.values()))
            raise OutputTooLargeError(
                f"{function.name} made {len(outputs)} outputs and {count} rows of one record, {total} bytes in all; "
                f"they are stored together, so at most {self._result_bytes_max}: emit where the data is, or fan out in "
                "two steps"
            )
        return total

    def _check_timers(self, function: AnyFunction, rows: port.Rows) -> None:
        for key, value in rows.items():
            if value is None:
                continue
            # When it is due there is no record any more that could fail because of it.
            self._checked(function, timers.decode(value).record())
            if (size := len(key) + len(value)) > port.ROW_BYTES_MAX:
                raise RowTooLargeError(
                    f"{function.name} scheduled an event that takes {size} bytes to keep, a row takes "
                    f"{port.ROW_BYTES_MAX}; store large data elsewhere and schedule where it is"
                )

    def _checked(self, function: AnyFunction, output: port.NewRecord) -> int:
        size, limit = bytes_of(output), self._limits.get(output.topic)
        if limit is not None and size > limit:
            raise OutputTooLargeError(
                f"{function.name} emitted a record of {size} bytes to {output.topic}, which takes {limit}; "
                "store large data elsewhere and emit where it is"
            )
        return size


def rows_bytes(rows: port.Rows) -> int:
    """What rows that need no check count for."""
    size = OVERHEAD_BYTES * len(rows)
    for key, value in rows.items():
        size += len(key) + (len(value) if value else 0)
    return size


def counted_bytes(record: port.NewRecord) -> int:
    """What an output that needs no check counts for."""
    return bytes_of(record) + OVERHEAD_BYTES


def bytes_of(record: port.NewRecord) -> int:
    """A record's key, value and headers."""
    return checking.size_bytes(record.key, record.value, record.headers)
