"""Calling one function with an event, or with records of the log: what it returns and would emit, no side effects.

Its table writes are kept in memory and shown; nothing is stored, no offset moves, and outputs are published only with
`emit=True`. What a handler does by itself (files, calls to others) it does here too: that is the handler's own code.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import traceback
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from sixfold import clock as clocks
from sixfold import errors, json_events
from sixfold.bus import murmur2, port
from sixfold.context import TableReader
from sixfold.function import AnyFunction
from sixfold.local import outcomes, rehearsing
from sixfold.process import Process
from sixfold_events import DecodeError, Event, cloudevents


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in the shape in which AWS Lambda reports one."""

    errorMessage: str  # noqa: N815 (Lambda's own spelling)
    errorType: str  # noqa: N815
    stackTrace: list[str]  # noqa: N815


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call."""

    function: str
    event_id: str
    position: str = ""
    """TOPIC:PARTITION:OFFSET of the record, where it is one of the log."""
    result: Any = None
    """What the handler returned, as JSON holds it."""
    outputs: list[dict[str, Any]] = []
    """The events that it emitted, as CloudEvents in JSON."""
    tables: dict[str, dict[str, Any]] = {}
    """The rows that it wrote, by table and key; null where it deleted one."""
    timers: list[dict[str, Any]] = []
    """What it scheduled: `name` (null without one), `at` and the event; `at` is null where it took one away."""
    answer: dict[str, Any] | None = None
    """What it answered to whoever asked, as a CloudEvent's `type` and `data`."""
    error: Failure | None = None
    verdict: str = "ack"
    """What a worker would do next: `ack`, `retry`, `park` or `halt`."""
    skipped: bool = False
    """A worker would not call the function with it: it is of another type, or the filter keeps it away."""
    duration_ms: float = 0.0
    emitted: bool = False
    """Whether the outputs were published."""


async def invoke(
    function: AnyFunction,
    event: Event | bytes | str | Mapping[str, Any],
    *,
    process: Process,
    event_type: str | None = None,
    emit: bool = False,
) -> Invocation:
    """Call `function` with `event`: an `Event`, or JSON with its fields, or a CloudEvent in JSON.

    `event_type` says which of the function's types plain JSON is, where it takes several. Tables begin with what the
    process's bus has stored for the function, and empty where the process has no bus. Raises EventDataError (the
    message names the field) where the JSON is no event of the type, and UsageError for a type that the function does
    not take, and for `emit` without a bus.
    """
    if emit and process.bus is None:
        raise errors.UsageError("publishing the outputs needs a bus; leave --emit away, or start one")
    parsed, attributes = read_event(function, event, process=process, event_type=event_type)
    record = await _record(parsed, attributes, process)
    async with rows_of(function, [record], process) as rows:
        (made,) = await rehearsing.Rehearsal(function, process, rows).call([record], events=[parsed])
        # There is no position in a log to derive the outputs' ids from.
        outputs = [_with_id(function, made.event_id, index, each) for index, each in enumerate(made.outputs)]
        if emit and outputs:
            await process.require_bus().publish(outputs)
        return _told(function, made, outputs, emitted=emit and bool(outputs))


async def invoke_from(
    function: AnyFunction, records: Sequence[port.Record], *, process: Process, emit: bool = False
) -> list[Invocation]:
    """Call `function` with `records` of its log as they are: one call each, or one of a batch function with all.

    The process has a bus. Rows begin as they are stored now, later records see what earlier ones wrote, and outputs
    have the ids that they have whenever these records are handled. Raises UsageError for records of topics that the
    function does not read.
    """
    bus = process.require_bus()
    # A handler in Lambda's shape that was named alone has no topics: it is given the records of any.
    anything = not function.topics and not function.topic_patterns
    sources = function.sources_among(await bus.topics())
    for record in records:
        if record.topic not in sources and not anything:
            known = ", ".join(sources) or "none"
            raise errors.UsageError(f"{function.name} does not read the topic {record.topic}; it reads {known}")
    async with rows_of(function, records, process) as rows:
        rehearsal = rehearsing.Rehearsal(function, process, rows)
        calls = [records] if function.batch is not None else [[record] for record in records]
        told: list[Invocation] = []
        for call in calls:
            made = await rehearsal.call(call, events=call if anything else None)
            rehearsal.keep(made)
            outputs = [output for each in made for output in each.outputs]
            if emit and outputs:
                await bus.publish(outputs)
            told += [_told(function, each, each.outputs, emitted=emit and bool(each.outputs)) for each in made]
        return told


def read_event(
    function: AnyFunction,
    event: Event | bytes | str | Mapping[str, Any],
    *,
    process: Process,
    event_type: str | None = None,
) -> tuple[Event, cloudevents.Attributes]:
    """The event for `function` in `event`, and its CloudEvents attributes; see `invoke` for what it raises."""
    now_ms = clocks.now_ms(process.clock)
    if isinstance(event, Event):
        name = event.__event__.type
        _class_of(function, name)
        return event, cloudevents.Attributes(id=uuid.uuid4().hex, type=name, source="/invoke", time_ms=now_ms)
    if isinstance(event, Mapping):
        raw: Any = event
    else:
        raw = json_events.parse(event)
    envelope = raw if isinstance(raw, Mapping) and "specversion" in raw else {}
    cls = _class_of(function, str(envelope["type"]) if "type" in envelope else event_type)
    attributes = cloudevents.Attributes(
        id=str(envelope.get("id") or uuid.uuid4().hex),
        type=cls.__event__.type,
        source=str(envelope.get("source") or "/invoke"),
        time_ms=now_ms,
        correlation_id=str(envelope.get("correlationid") or ""),
        causation_id=str(envelope.get("causationid") or ""),
        traceparent=str(envelope.get("traceparent") or ""),
    )
    if "data_base64" in envelope:
        try:
            body = base64.b64decode(envelope["data_base64"], validate=True)
            return process.registry.decode_as(cls, body), attributes
        except (binascii.Error, TypeError, DecodeError) as error:
            raise json_events.EventDataError(f"not an Avro body in base64: {error}", field="data_base64") from error
    return json_events.convert(cls, envelope.get("data") if envelope else raw), attributes


def failure_of(error: BaseException) -> Failure:
    """`error` as AWS Lambda reports it."""
    return Failure(
        errorMessage=str(error),
        errorType=type(error).__name__,
        stackTrace=[line for entry in traceback.format_tb(error.__traceback__) for line in entry.rstrip().split("\n")],
    )


def _class_of(function: AnyFunction, event_type: str | None) -> type[Event]:
    names = {cls.__event__.type: cls for cls in function.on}
    if event_type is None and len(names) == 1:
        return function.on[0]
    if event_type in names:
        return names[event_type]
    known = ", ".join(names)
    if event_type is None:
        raise errors.UsageError(f"{function.name} takes several event types; say which it is: {known}")
    raise errors.UsageError(f"{function.name} does not take {event_type}; it takes {known}")


def _told(
    function: AnyFunction, made: rehearsing.Made, outputs: Sequence[port.NewRecord], *, emitted: bool
) -> Invocation:
    shown = outcomes.of(made, outputs)
    record = made.record
    return Invocation(
        function=function.name,
        event_id=made.event_id,
        position=f"{record.topic}:{record.partition}:{record.offset}" if record.offset >= 0 else "",
        result=outcomes.plain(made.result),
        outputs=shown.outputs,
        tables=shown.tables,
        timers=shown.timers,
        answer=shown.answer,
        error=None if made.error is None else failure_of(made.error),
        verdict=made.verdict,
        skipped=made.skipped,
        duration_ms=made.duration_s * 1000,
        emitted=emitted,
    )


def _with_id(function: AnyFunction, event_id: str, index: int, output: port.NewRecord) -> port.NewRecord:
    identifier = cloudevents.derived_id(function.name, f"invoke/{event_id}", index).encode()
    headers = [(name, identifier if name == "ce_id" else value) for name, value in output.headers]
    return msgspec.structs.replace(output, headers=headers)


async def _record(event: Event, attributes: cloudevents.Attributes, process: Process) -> port.Record:
    """`event` as if it were read from its topic, in the partition of its key."""
    message = json_events.encode(event, attributes, None)
    partition = 0
    if process.bus is not None and message.key is not None:
        spec = (await process.bus.topics()).get(message.topic)
        partition = murmur2.partition_for(message.key, spec.partitions) if spec is not None else 0
    return port.Record(
        message.topic, partition, -1, attributes.time_ms, message.key, message.value, list(message.headers)
    )


@contextlib.asynccontextmanager
async def rows_of(
    function: AnyFunction, records: Sequence[port.Record], process: Process
) -> AsyncIterator[TableReader | None]:
    """The rows that the function has stored for the partitions of `records`; None where there can be none."""
    bus = process.bus
    topics = {} if bus is None or not function.tables else await bus.topics()
    partitions = dict.fromkeys(
        port.TopicPartition(each.topic, each.partition)
        for each in records
        if each.topic in topics and each.partition < topics[each.topic].partitions
    )
    if bus is None or not partitions:
        yield None
        return
    async with bus.assign(list(partitions), group=function.name) as consumer:
        yield consumer
