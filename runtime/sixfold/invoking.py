"""Calling one function with one event, as Lambda's tools do: what it returns and what it would emit, no side effects.

Its table writes are kept in memory and shown; nothing is stored, no offset moves, and outputs are published only with
`emit=True`. What a handler does by itself (files, calls to others) it does here too: that is the handler's own code.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import inspect
import traceback
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from sixfold import clock as clocks
from sixfold import errors, invocation, json_events
from sixfold.bus import murmur2, port
from sixfold.context import Context, TableReader
from sixfold.function import AnyFunction
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
    result: Any = None
    """What the handler returned, as JSON holds it."""
    outputs: list[dict[str, Any]] = []
    """The events that it emitted, as CloudEvents in JSON."""
    tables: dict[str, dict[str, Any]] = {}
    """The rows that it wrote, by table and key; null where it deleted one."""
    error: Failure | None = None
    verdict: str = "ack"
    """What a worker would do next: `ack`, `retry`, `park` or `halt`."""
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
    async with _rows(function, record, process) as rows:
        ctx = Context(function, record, process, rows)
        begun = process.clock.monotonic()
        result: Any = None
        error: Exception | None = None
        try:
            async with asyncio.timeout(function.timeout_s):
                result = await _call(function, parsed, ctx)
            outputs = _outputs(ctx)
        except TimeoutError as raised:
            error = raised
            if process.clock.monotonic() - begun >= function.timeout_s:
                error = invocation.AttemptTimeoutError(f"took longer than timeout_s={function.timeout_s:g}")
        except Exception as raised:
            error = raised
        duration_ms = (process.clock.monotonic() - begun) * 1000
        if error is not None:
            return Invocation(
                function=function.name,
                event_id=attributes.id,
                error=failure_of(error),
                verdict=invocation.rule_of(error).value,
                duration_ms=duration_ms,
            )
        if emit and outputs:
            await process.require_bus().publish(outputs)
        return Invocation(
            function=function.name,
            event_id=attributes.id,
            result=_plain(result),
            outputs=[_cloudevent(one, made) for one, made in zip(ctx.emitted, outputs, strict=True)],
            tables=_writes(ctx),
            duration_ms=duration_ms,
            emitted=emit and bool(outputs),
        )


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


async def _call(function: AnyFunction, event: Event, ctx: Context) -> Any:
    if inspect.iscoroutinefunction(function.handler):
        return await function.handler(event, ctx)
    result = await asyncio.to_thread(function.handler, event, ctx)
    return await result if inspect.isawaitable(result) else result


def _outputs(ctx: Context) -> list[port.NewRecord]:
    """What was emitted, with ids of this invocation: there is no position in a log to derive them from."""
    outputs = []
    for index, output in enumerate(ctx.outputs()):
        identifier = cloudevents.derived_id(ctx.function.name, f"invoke/{ctx.event_id}", 0, 0, index).encode()
        headers = [(name, identifier if name == "ce_id" else value) for name, value in output.headers]
        outputs.append(msgspec.structs.replace(output, headers=headers))
    return outputs


def _cloudevent(event: Event, record: port.NewRecord) -> dict[str, Any]:
    headers = {name.removeprefix("ce_"): value.decode() for name, value in record.headers if name != "content-type"}
    key = {} if record.key is None else {"partitionkey": record.key.decode(errors="replace")}
    data = msgspec.to_builtins(event)
    return {**headers, **key, "datacontenttype": "application/json", "topic": record.topic, "data": data}


def _writes(ctx: Context) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for put in ctx.writes():
        value = None if put.value is None else msgspec.msgpack.decode(put.value)
        tables.setdefault(put.table, {})[put.key.decode()] = _plain(value)
    return tables


def _plain(value: Any) -> Any:
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except TypeError:
        return repr(value)


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
async def _rows(function: AnyFunction, record: port.Record, process: Process) -> AsyncIterator[TableReader]:
    """The function's stored rows where there is a bus that has its topic, else none."""
    bus = process.bus
    if bus is None or not function.tables or record.topic not in await bus.topics():
        yield _NoRows()
        return
    async with bus.assign([port.TopicPartition(record.topic, record.partition)], group=function.name) as consumer:
        yield consumer


class _NoRows:
    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        return None

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        return []
