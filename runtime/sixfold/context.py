"""What a handler is given beside its event: who it is, which record this is, and its ways out.

A `Context` collects what the handler wants to happen (`emit`, table writes); nothing of it takes effect unless the
handler returns. `worker/member.py` then settles it together with the record's offset.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors, replies, windows
from sixfold import timers as timers_
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry import tracing
from sixfold_events import Event, cloudevents

T = TypeVar("T")
_ANSWER = -1_000_000
"""Index of an answer's event id; far from those of emitted and of scheduled events."""


class UndeclaredEmitError(errors.FunctionBugError):
    """A handler emitted an event type that its function does not declare in `emits=`."""


class UndeclaredTableError(errors.FunctionBugError):
    """A handler opened a table that its function does not declare in `tables=`."""


class RowTooLargeError(errors.PermanentError):
    """A handler put a row that is larger than a bus stores; trying again makes it no smaller."""


class TableReader(Protocol):
    """Where committed rows come from; a group consumer is one."""

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None: ...

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]: ...


class Table:
    """A keyed fold of the events: rows of the function, of this record's partition, stored with its offset.

    Keys are text, values anything that msgspec can turn into MessagePack.
    """

    def __init__(self, name: str, partition: int, reader: TableReader) -> None:
        self.name = name
        self._partition = partition
        self._reader = reader
        self._writes: dict[str, bytes | None] = {}

    async def get(self, key: str, default: Any = None) -> Any:
        """The row of `key`, this handler's own writes included, else `default`."""
        data = (
            self._writes[key]
            if key in self._writes
            else await self._reader.state_get(self.name, self._partition, key.encode())
        )
        return default if data is None else msgspec.msgpack.decode(data)

    def put(self, key: str, value: Any) -> None:
        """Store a row when the handler returns. Raises RowTooLargeError above `port.ROW_BYTES_MAX`, key included."""
        self._write(key, msgspec.msgpack.encode(value))

    def delete(self, key: str) -> None:
        """Remove a row when the handler returns."""
        self._write(key, None)

    def _write(self, key: str, data: bytes | None) -> None:
        size = len(key.encode()) + len(data or b"")
        if size > port.ROW_BYTES_MAX:
            raise RowTooLargeError(
                f"table {self.name!r}: the row {key[:100]!r} has {size} bytes, a row takes {port.ROW_BYTES_MAX}; "
                "split it over several keys, or store large data elsewhere and keep where it is"
            )
        self._writes[key] = data

    async def items(self) -> list[tuple[str, Any]]:
        """All rows of this partition in key order, this handler's own writes included."""
        rows: dict[str, bytes | None] = {
            key.decode(): value for key, value in await self._reader.state_scan(self.name, self._partition)
        }
        rows.update(self._writes)
        return [(key, msgspec.msgpack.decode(value)) for key, value in sorted(rows.items()) if value is not None]

    def writes(self) -> port.Rows:
        """What the handler wrote, for settling."""
        return {key.encode(): value for key, value in self._writes.items()}


class Context:
    """One invocation's context."""

    __slots__ = (
        "_answer",
        "_attributes",
        "_emitted",
        "_tables",
        "_timers",
        "attempt",
        "function",
        "number",
        "process",
        "reader",
        "record",
    )

    def __init__(
        self, function: AnyFunction, record: port.Record, process: Process, reader: TableReader, attempt: int = 1
    ) -> None:
        self.function = function
        self.record = record
        """The record as read: topic, partition, offset, key, headers, original bytes."""
        self.process = process
        self.reader = reader
        self.number: int | None = None
        """Partition number that timers belong to, where it may be another than the record's: for retries."""
        self.attempt = attempt
        """1 for the first delivery of this record in this process."""
        self._attributes: cloudevents.Attributes | None = None
        # Most handlers use few of these, so each is made when it is first asked for.
        self._emitted: list[Event] | None = None
        self._answer: Event | None = None
        self._tables: dict[str, Table] | None = None
        self._timers: dict[str, tuple[int, Event] | None] | None = None

    @property
    def attributes(self) -> cloudevents.Attributes:
        """The event's CloudEvents attributes; read from the headers at first use."""
        if self._attributes is None:
            self._attributes = cloudevents.attributes_of(self.record.headers, self.record.timestamp_ms)
        return self._attributes

    @property
    def event_id(self) -> str:
        """The event's id: the same for every delivery, so it serves as an idempotency key."""
        return self.attributes.id or f"{self.record.topic}-{self.record.partition}-{self.record.offset}"

    @property
    def clock(self) -> clocks.Clock:
        return self.process.clock

    @property
    def data_dir(self) -> Path:
        return self.process.data_dir

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger with function, record and correlation bound."""
        record = self.record
        logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(
            function=self.function.name,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            correlation=self.attributes.correlation_id,
        )
        return logger

    @overload
    async def resource(self, opener: Callable[[Process], Coroutine[Any, Any, T]]) -> T: ...

    @overload
    async def resource(self, opener: Callable[[Process], T]) -> T: ...

    async def resource(self, opener: Callable[[Process], Any]) -> Any:
        """Something that this process opens once and all its functions share; see `process.Resources`."""
        return await self.process.resources.get(opener)

    def emit(self, *events: Event) -> None:
        """Publish these when the handler returns. Raises UndeclaredEmitError for a type that `emits=` does not name."""
        for event in events:
            self._check_declared(event)
        if self._emitted is None:
            self._emitted = []
        self._emitted.extend(events)

    @property
    def timers(self) -> dict[str, tuple[int, Event] | None]:
        """What the handler scheduled, by the timers' names: when (Unix milliseconds) and what; None takes one away."""
        if self._timers is None:
            self._timers = {}
        return self._timers

    def schedule(self, at: datetime.datetime | datetime.timedelta, event: Event, *, name: str | None = None) -> None:
        """Publish `event` at a time (with a zone), or so long from now; durable once the handler returned.

        A timer set again under its `name` replaces the one before, of the same partition number (so of the same key);
        `unschedule` takes it away. Raises UndeclaredEmitError as `emit` does.
        """
        self._check_declared(event)
        if isinstance(at, datetime.timedelta):
            due_ms = clocks.now_ms(self.clock) + round(at.total_seconds() * 1000)
        elif at.tzinfo is None:
            raise errors.FunctionBugError(f"{self.function.name}: {at.isoformat()} has no time zone; add one")
        else:
            due_ms = round(at.timestamp() * 1000)
        self.timers[f"named/{name}" if name else f"{self._derived_id(-1 - len(self.timers))}"] = (due_ms, event)

    def unschedule(self, name: str) -> None:
        """Take the timer `name` away; nothing happens where there is none, or it has fired."""
        self.timers[f"named/{name}"] = None

    def _check_declared(self, event: Event) -> None:
        if type(event) not in self.function.emits:
            declared = ", ".join(cls.__name__ for cls in self.function.emits) or "nothing"
            raise UndeclaredEmitError(
                f"{self.function.name} emitted {type(event).__name__}, but declares {declared}; add it to emits="
            )

    def table(self, name: str) -> Table:
        """The function's table `name`, of this record's partition."""
        if self._tables is None:
            self._tables = {}
        if name not in self._tables:
            if name not in self.function.tables:
                declared = ", ".join(self.function.tables) or "none"
                raise UndeclaredTableError(
                    f"{self.function.name} opened table {name!r}, but declares {declared}; add it to tables="
                )
            self._tables[name] = self._open(name)
        return self._tables[name]

    def _open(self, name: str) -> Table:
        return Table(name, self.record.partition, self.reader)

    def window(self, spec: windows.Spec) -> windows.Window:
        """The windows that `spec` declares, of this record's partition; their table is declared in `tables=`."""
        return windows.Window(spec, self.table(spec.name))

    def answer(self, event: Event) -> None:
        """Reply with `event` to whoever asked, when the handler returns; returning it does the same.

        Nothing happens where nobody asked. Raises UndeclaredEmitError for a type that `answers=` does not name.
        """
        if type(event) not in self.function.answers:
            declared = ", ".join(cls.__name__ for cls in self.function.answers) or "nothing"
            raise UndeclaredEmitError(
                f"{self.function.name} answered {type(event).__name__}, but declares {declared}; add it to answers="
            )
        self._answer = event

    @property
    def answered(self) -> Event | None:
        """What `answer` was given."""
        return self._answer

    @property
    def emitted(self) -> tuple[Event, ...]:
        """What the handler emitted so far."""
        return tuple(self._emitted or ())

    @property
    def used(self) -> bool:
        """Whether there may be outputs or writes."""
        return bool(self._emitted or self._tables or self._timers or self._answer is not None)

    def outputs(self) -> list[port.NewRecord]:
        """The emitted events as records, with ids derived from this event's."""
        if not self._emitted and self._answer is None:
            return []
        now_ms = clocks.now_ms(self.clock)
        made = [self._record(event, index, now_ms) for index, event in enumerate(self._emitted or ())]
        reply = None if self._answer is None else self._reply(self._answer, now_ms)
        return made if reply is None else [*made, reply]

    def _reply(self, event: Event, now_ms: int) -> port.NewRecord | None:
        partition = replies.partition_of(self.record)
        if partition is None:
            return None
        made = self._record(event, _ANSWER, now_ms)
        return port.NewRecord(
            topic=replies.TOPIC.name,
            value=made.value,
            key=self.event_id.encode(),
            headers=made.headers,
            partition=partition,
            timestamp_ms=made.timestamp_ms,
        )

    def writes(self) -> port.State:
        """Every table's writes and every timer, for settling."""
        state: dict[tuple[str, int], port.Rows] = {}
        if self._tables:
            for name, table in self._tables.items():
                if rows := table.writes():
                    state[name, self.record.partition] = rows
        if self._timers:
            number = self.record.partition if self.number is None else self.number
            made = {}
            for index, (name, entry) in enumerate(self._timers.items()):
                timer = None
                if entry is not None:
                    due_ms, event = entry
                    timer = timers_.of(self._record(event, -1 - index, due_ms), due_ms=due_ms)
                made[name] = timer
            state.update(timers_.state(number, made))
        return state

    def continue_trace(self, traceparent: str) -> None:
        """What is emitted from now on continues this trace instead of the record's."""
        self._attributes = msgspec.structs.replace(self.attributes, traceparent=traceparent)

    def _record(self, event: Event, index: int, time_ms: int) -> port.NewRecord:
        attributes, process = self.attributes, self.process
        made = cloudevents.Attributes(
            id=self._derived_id(index),
            type=event.__event__.type,
            source=f"/functions/{self.function.name}",
            time_ms=time_ms,
            correlation_id=attributes.correlation_id or self.event_id,
            causation_id=self.event_id,
            traceparent=attributes.traceparent,
        )
        if process.tracing is not None:
            system = tracing.system_of(process.bus_url)
            traceparent = process.tracing.created(event.__event__.topic, system, made)
            made = msgspec.structs.replace(made, traceparent=traceparent)
        message = cloudevents.encode(event, made, process.registry.frame_of(type(event)))
        return port.NewRecord(
            topic=message.topic,
            value=message.value,
            key=message.key,
            headers=message.headers,
            timestamp_ms=message.timestamp_ms,
        )

    def _derived_id(self, index: int) -> str:
        record = self.record
        cause = cloudevents.cause_of(record.topic, record.partition, record.offset, self.attributes)
        return cloudevents.derived_id(self.function.name, cause, index)
