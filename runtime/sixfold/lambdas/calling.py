"""Calling one function with JSON, as Lambda's Invoke does: with its effects, and with Lambda's answer and log.

A function in Lambda's shape gets the JSON as it is. A typed function gets the event that the JSON holds, and what it
emits is published under ids derived from the request's id, so that a call that is repeated is found out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
import uuid
from typing import Any, NamedTuple

import msgspec

from sixfold import errors, json_events
from sixfold.function import AnyFunction
from sixfold.lambdas import tail
from sixfold.lambdas.context import VERSION
from sixfold.lambdas.declaring import LambdaFunction, context_of
from sixfold.local import invoking
from sixfold.process import Process
from sixfold.worker import invocation

RESULT_BYTES_MAX = 6 * 1024 * 1024
"""Lambda's limit of what a function returns."""


class PayloadError(errors.UsageError):
    """The payload is no JSON, or no event that the function takes."""


class NotInvocableError(errors.UsageError):
    """The function keeps state by its partitions; called outside of them it would lose what it writes."""


class Outcome(NamedTuple):
    """What came of a call."""

    body: bytes
    """JSON: what the function returned, or the error in Lambda's shape."""
    error: str = ""
    """`Handled` where the function said that it failed for good, `Unhandled` for any other error; empty: it returned."""
    verdict: str = "ack"
    """What a worker would do next: `ack`, `retry`, `park` or `halt`."""
    log: bytes = b""
    """The last of what the call printed and logged."""
    why: str = ""
    """The error in one line."""


def check(function: AnyFunction, payload: bytes, process: Process, request_id: str) -> None:
    """Raises PayloadError and NotInvocableError where `call` would, without the call."""
    if isinstance(function, LambdaFunction):
        _json(payload)
        return
    if function.tables:
        raise NotInvocableError(
            f"{function.name} keeps tables, which belong to partitions of its topics: publish its event instead"
        )
    try:
        invoking.read_event(function, _cloudevent(payload, request_id), process=process)
    except errors.UsageError as error:
        raise PayloadError(str(error)) from error


async def call(
    function: AnyFunction, payload: bytes, *, process: Process, request_id: str, client_context: Any = None
) -> Outcome:
    """Call it. Raises PayloadError and NotInvocableError; what the handler raises is in the outcome."""
    check(function, payload, process, request_id)
    clock = process.clock
    with tail.listening() as log:
        log.write(f"START RequestId: {request_id} Version: {VERSION}\n")
        begun = clock.monotonic()
        if isinstance(function, LambdaFunction):
            made = await _code(function, _json(payload), process, request_id, client_context)
        else:
            made = await _typed(function, payload, process, request_id)
        taken_ms = (clock.monotonic() - begun) * 1000
        if made.error:
            log.write(f"[ERROR] {made.why}\n")
        log.write(f"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {taken_ms:.2f} ms\n")
    return made._replace(log=log.bytes())


async def _code(
    function: LambdaFunction, event: Any, process: Process, request_id: str, client_context: Any
) -> Outcome:
    context = context_of(
        function.name, function.timeout_s, function.memory_mb, process, request_id, client_context=client_context
    )
    begun = process.clock.monotonic()
    try:
        async with asyncio.timeout(function.timeout_s):
            if inspect.iscoroutinefunction(function.code):
                result = await function.code(event, context)
            else:
                result = await asyncio.to_thread(function.code, event, context)
    except TimeoutError as error:
        if process.clock.monotonic() - begun < function.timeout_s:
            return _failed(request_id, error)
        message = f"{request_id} Task timed out after {function.timeout_s:.2f} seconds"
        return _error(request_id, "Sandbox.Timedout", message, [], "retry")
    except Exception as error:
        return _failed(request_id, error)
    return _returned(request_id, result)


async def _typed(function: AnyFunction, payload: bytes, process: Process, request_id: str) -> Outcome:
    event = _cloudevent(payload, request_id)
    made = await invoking.invoke(function, event, process=process, emit=True)
    if made.error is None:
        return _returned(request_id, made.result)
    failure = made.error
    return _error(request_id, failure.errorType, failure.errorMessage, failure.stackTrace, made.verdict)


async def shown(function: LambdaFunction, payload: bytes, process: Process) -> invoking.Invocation:
    """A call for somebody who looks at it, as `sixfold invoke` does. Raises PayloadError."""
    request_id = str(uuid.uuid4())
    begun = process.clock.monotonic()
    outcome = await call(function, payload, process=process, request_id=request_id)
    body = json.loads(outcome.body)
    failure = None
    if outcome.error:
        failure = invoking.Failure(**{name: body[name] for name in ("errorMessage", "errorType", "stackTrace")})
    return invoking.Invocation(
        function=function.name,
        event_id=request_id,
        result=None if failure else body,
        error=failure,
        verdict=outcome.verdict,
        duration_ms=(process.clock.monotonic() - begun) * 1000,
    )


def _returned(request_id: str, result: Any) -> Outcome:
    try:
        body = json.dumps(result, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return _error(request_id, "Runtime.MarshalError", f"Unable to marshal response: {error}", [], "park")
    if len(body) > RESULT_BYTES_MAX:
        why = f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size ({RESULT_BYTES_MAX} bytes)."
        return _error(request_id, "Function.ResponseSizeTooLarge", why, [], "park")
    return Outcome(body)


def _failed(request_id: str, error: Exception) -> Outcome:
    stack = [entry.rstrip() for entry in traceback.format_tb(error.__traceback__)]
    return _error(request_id, type(error).__name__, str(error), stack, invocation.rule_of(error).value)


def _error(request_id: str, kind: str, message: str, stack: list[str], verdict: str) -> Outcome:
    body = {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": stack}
    handled = verdict == invocation.Rule.PARK.value and "." not in kind
    return Outcome(msgspec.json.encode(body), "Handled" if handled else "Unhandled", verdict, why=f"{kind}: {message}")


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload.decode()) if payload.strip() else {}
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"Could not parse request body into json: {error}") from error


def _cloudevent(payload: bytes, request_id: str) -> Any:
    """The payload as a CloudEvent, with the request's id unless it brings one."""
    given = json_events.parse(payload)
    if isinstance(given, dict) and "specversion" in given:
        return given
    return {"specversion": "1.0", "id": request_id, "source": "/lambda", "data": given}
