"""The gateway's `POST /` for AWS's clients: finds the operation that a call means, has it carried out, and answers.

The order is AWS's: is it signed (that is checked before, see `signing.py`), is there such an operation, can the
parameters be read, do they keep within the model; then the operation decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import structlog
from botocore.model import ServiceModel
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from sixfold import errors
from sixfold.gateway.aws import codecs, constraints, faults, models
from sixfold.gateway.aws.codecs import Codec
from sixfold.gateway.aws.faults import Fault
from sixfold.gateway.aws.service import Call, Handler, Refused, Service, Unanswered
from sixfold.gateway.problems import Problem
from sixfold.gateway.route import Route

BODY_BYTES_MAX = 256 * 1024
"""A key policy takes 32 KiB, a web identity token 20,000 characters, IAM's policies less; escaping may treble it."""
NAME_CHARS_MAX = 64
"""Of an operation that is not known; AWS's longest are shorter."""

_CODES = {408: "RequestTimeout", 413: "RequestEntityTooLarge", 431: "RequestEntityTooLarge", 503: "ServiceUnavailable"}
"""Of what is refused before anybody looked at a signature."""


class Aws:
    """Answers for some services."""

    def __init__(self, services: Sequence[Service], recorders: Sequence[Refused]) -> None:
        self._services = {each.name: each for each in services}
        self._known = models.Services(self._services)
        self._recorders = recorders

    async def answer(self, request: Request) -> Response:
        """Answer a request, whatever it is."""
        request_id = str(uuid.uuid4())
        headers = request.headers
        codec = codecs.codec_of(headers)
        model: ServiceModel | None = None
        operation = ""
        principal = request.scope.get("principal")
        try:
            try:
                body = await _body(request)
                codec, asked = _asked(headers, body)
                operation = asked.operation[:NAME_CHARS_MAX]
                model = self._known.find(asked.address)
                handler, call = self._call(codec, asked, request, request_id)
            except Fault as fault:
                for record in self._recorders:
                    await record(Unanswered(request_id, operation, principal), fault)
                raise
            result = await handler(call)
        except Fault as fault:
            return _told(codec, fault, model, request_id)
        except errors.SixfoldError as error:
            structlog.get_logger().error(
                "an AWS call could not be carried out", action="aws.unavailable", operation=operation, reason=str(error)
            )
            return _told(codec, Fault("ServiceUnavailable", str(error)), model, request_id)
        except Exception as error:
            structlog.get_logger().error("an AWS call failed", action="aws.failed", operation=operation, exc_info=error)
            return _told(codec, Fault("InternalFailure", "The call failed; the log says why"), model, request_id)
        found = models.service(call.service).operation_model(call.operation)
        return _response(codec, codec.answer(found, result, request_id), 200, request_id)

    def _call(self, codec: Codec, asked: codecs.Asked, request: Request, request_id: str) -> tuple[Handler, Call]:
        """The call, and what carries it out. Raises Fault."""
        principal = request.scope.get("principal")
        model = self._known.find(asked.address)
        service = None if model is None else self._services[model.service_name]
        operation = self._known.operation(asked.address, asked.operation)
        if principal is None and (service is None or asked.operation not in service.proving):
            raise Fault(codec.unsigned, "Request is missing Authentication Token")
        handler = service.handlers.get(asked.operation) if service is not None else None
        if operation is None or service is None or handler is None:
            name, version = asked.operation[:NAME_CHARS_MAX], asked.address.version[:NAME_CHARS_MAX]
            raise Fault(codec.unknown, f"Could not find operation {name} for version {version}")
        parameters = codec.parameters(operation, asked.content)
        constraints.check(operation.input_shape, parameters, code=codec.invalid)
        client = request.client
        return handler, Call(
            request_id,
            service.name,
            operation.name,
            parameters,
            principal,
            "" if client is None else client.host,
            request.headers.get("user-agent", "")[:256],
            request.scope.get("aws_region", ""),
        )


def route(services: Sequence[Service], recorders: Sequence[Refused]) -> Route:
    """`POST /`, open to everyone: it decides for each operation who may call it."""
    return Route(path="/", endpoint=Aws(services, recorders).answer, methods=("POST",), public=True)


def refusal(scope: Scope, problem: Problem) -> Response | None:
    """How an AWS client hears that it is not let in; None for a request that is no call of one."""
    if scope["method"] != "POST" or scope["path"] != "/":
        return None
    codec = codecs.codec_of(Headers(scope=scope))
    code = problem.headers.get("x-amzn-ErrorType") or _CODES.get(problem.status, "InternalFailure")
    if isinstance(codec, codecs.Query):
        code = codecs.QUERY_CODES.get(code, code)
    return _told(codec, Fault(code, str(problem), status=problem.status), None, str(uuid.uuid4()))


def _asked(headers: Mapping[str, str], body: bytes) -> tuple[Codec, codecs.Asked]:
    for codec in codecs.CODECS:
        asked = codec.asked(headers, body)
        if asked is not None:
            return codec, asked
    raise AssertionError("the last codec takes every request")


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Fault("RequestEntityTooLarge", f"The request is larger than {BODY_BYTES_MAX} bytes")
    return body


def _told(codec: Codec, fault: Fault, model: ServiceModel | None, request_id: str) -> Response:
    status = faults.status_of(fault, model)
    return _response(codec, codec.fault(fault, model, status, request_id), status, request_id)


def _response(codec: Codec, body: bytes, status: int, request_id: str) -> Response:
    return Response(
        body,
        status_code=status,
        headers={"x-amzn-RequestId": request_id, "Cache-Control": "no-store"},
        media_type=codec.media_type,
    )
