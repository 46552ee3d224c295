"""Lambda's Invoke API at the gateway: `POST /2015-03-31/functions/NAME/invocations`.

`RequestResponse` calls the function here and now, `Event` puts the call into the log, where the process of all
functions finds it (`asynchronous.py`), `DryRun` only looks. Source: AWS Lambda API Reference, Invoke.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sixfold import clock as clocks
from sixfold.function import AnyFunction
from sixfold.gateway.route import Gateway, Route
from sixfold.lambdas import calling, failures
from sixfold.lambdas.context import VERSION
from sixfold.lambdas.failures import ApiError
from sixfold.lambdas.topics import ASYNC_BYTES_MAX
from sixfold.publisher import Publisher
from sixfold_events.lambdas import FunctionInvoked

PATH = "/2015-03-31/functions/{name}/invocations"
SYNC_BYTES_MAX = 6 * 1024 * 1024
"""Lambda's limit for a call that is waited for."""
CLIENT_CONTEXT_CHARS_MAX = 3583
RUNNING_MAX = 64
"""Calls at once; more are told to come again, as by Lambda where its concurrency is used up."""
_NAME = re.compile(
    r"(?:arn:[^:]+:lambda:[^:]*:)?(?:\d*:)?(?:function:)?([A-Za-z0-9._-]{1,140})(?::([A-Za-z0-9$_-]{1,128}))?"
)


def routes(gateway: Gateway, functions: Mapping[str, AnyFunction]) -> list[Route]:
    """The route for `functions` by name."""
    invoker = _Invoker(gateway, functions)
    return [Route(path=PATH, endpoint=failures.answered(invoker.answer), methods=("POST",))]


def named(name: str, qualifier: str | None, functions: Mapping[str, AnyFunction]) -> AnyFunction:
    """The function that a name, a partial or a whole ARN means. Raises ApiError (ResourceNotFoundException)."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in functions or (qualifier or found[2] or VERSION) != VERSION:
        raise failures.no_function(name)
    return functions[found[1]]


class _Invoker:
    def __init__(self, gateway: Gateway, functions: Mapping[str, AnyFunction]) -> None:
        self._process = gateway.process
        self._functions = functions
        self._running = 0
        self._publisher = Publisher(self._process.require_bus(), source="/lambda", clock=self._process.clock)

    async def answer(self, request: Request) -> Response:
        """Answer one request. Raises ApiError."""
        function = named(request.path_params["name"], request.query_params.get("Qualifier"), self._functions)
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        if kind not in ("RequestResponse", "Event", "DryRun"):
            raise failures.invalid(f"X-Amz-Invocation-Type: expected RequestResponse, Event or DryRun, found {kind!r}")
        payload = await request.body()
        limit = ASYNC_BYTES_MAX if kind == "Event" else SYNC_BYTES_MAX
        if len(payload) > limit:
            raise ApiError("RequestTooLargeException", f"{len(payload)} bytes of payload, at most {limit} go here", 413)
        given = request.headers.get("x-amz-client-context", "")
        client_context = _client_context(given)
        request_id = str(uuid.uuid4())
        try:
            calling.check(function, payload, self._process, request_id)
        except calling.PayloadError as error:
            raise ApiError("InvalidRequestContentException", str(error)) from error
        except calling.NotInvocableError as error:
            raise failures.invalid(str(error)) from error
        headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": VERSION}
        if kind == "DryRun":
            return Response(status_code=204, headers=headers)
        if kind == "Event":
            await self._publisher.publish(
                FunctionInvoked(
                    request_id=request_id,
                    function=function.name,
                    payload=payload.decode() or "{}",
                    client_context="" if client_context is None else json.dumps(client_context),
                    invoked_at_ms=clocks.now_ms(self._process.clock),
                )
            )
            return Response(status_code=202, headers=headers)
        outcome = await self._call(function, payload, request_id, client_context)
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        if request.headers.get("x-amz-log-type", "None") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log).decode()
        return Response(outcome.body, headers=headers, media_type="application/json")

    async def _call(self, function: AnyFunction, payload: bytes, request_id: str, context: Any) -> calling.Outcome:
        if self._running >= RUNNING_MAX:
            raise ApiError("TooManyRequestsException", f"Rate Exceeded: {RUNNING_MAX} calls run already", 429)
        self._running += 1
        try:
            return await calling.call(
                function, payload, process=self._process, request_id=request_id, client_context=context
            )
        finally:
            self._running -= 1


def _client_context(header: str) -> Any:
    if not header:
        return None
    try:
        if len(header) > CLIENT_CONTEXT_CHARS_MAX:
            raise ValueError("longer than 3,583 characters")
        return json.loads(base64.b64decode(header, validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise ApiError(
            "InvalidRequestContentException", f"X-Amz-Client-Context: expected base64 of a JSON object: {error}"
        ) from error
