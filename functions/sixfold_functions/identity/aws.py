"""AWS's protocols on the gateway's `POST /`: which operation a call means, and errors in the shape its client reads.

The query protocol names the operation in the form (`Action`, `Version`), the JSON protocols in `X-Amz-Target`. Both
find it in one table, so that another service joins by adding rows. An operation either brings its own proof (a web
identity token) or needs a caller whom the gateway knows.

Sources: AWS query protocol; Smithy's awsJson1_1 and awsQuery protocols.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sixfold.gateway import Principal
from sixfold.gateway.route import Endpoint
from sixfold_functions.identity.refusal import Refusal

Refused = Callable[["Unanswered", Refusal], Awaitable[None]]
"""Told of a call that no operation took, before its answer goes out. Raises Refusal where that cannot be recorded."""

BODY_BYTES_MAX = 64 * 1024
"""Three times the longest web identity token; percent-encoding may triple it."""
FIELDS_MAX = 64
NAME_CHARS_MAX = 64
"""Of an operation that is not in the table; AWS's longest are shorter."""


class Call(NamedTuple):
    """One call of an AWS client."""

    request_id: str
    operation: str
    parameters: Mapping[str, str]
    """The form's fields, with the query protocol."""
    body: bytes
    principal: Principal | None


class Unanswered(NamedTuple):
    """What is known of a call that no operation took."""

    request_id: str
    operation: str
    """As the caller named it, cut; empty where that cannot be read."""
    principal: Principal | None


class Operation(NamedTuple):
    """A row of the table."""

    protocol: Literal["query", "json"]
    service: str
    """API version of the query protocol (`2011-06-15`), or the target's prefix (`TrentService`)."""
    name: str
    run: Callable[[Call], Awaitable[Response]]
    proves_itself: bool = False
    """The call carries its own proof of who calls."""


def endpoint(operations: Sequence[Operation], refused: Refused) -> Endpoint:
    """The endpoint of `POST /` for a table of operations, which record their calls; `refused` records all others."""
    table: dict[tuple[str, str, str], Operation] = {
        (each.protocol, each.service, each.name): each for each in operations
    }

    async def answer(request: Request) -> Response:
        request_id = str(uuid.uuid4())
        target = request.headers.get("x-amz-target")
        principal = request.scope.get("principal")
        named = ""
        try:
            try:
                body = await _body(request)
                parameters = {} if target is not None else _form(request, body)
                key = _key(target, parameters)
                named = key[2][:NAME_CHARS_MAX]
                operation = _find(table, key, principal)
            except Refusal as refusal:
                await refused(Unanswered(request_id, named, principal), refusal)
                raise
            return await operation.run(Call(request_id, key[2], parameters, body, principal))
        except Refusal as refusal:
            return _refused(refusal, request_id, as_json=target is not None)

    return answer


def _key(target: str | None, parameters: Mapping[str, str]) -> tuple[str, str, str]:
    if target is None:
        return "query", parameters.get("Version", ""), parameters.get("Action", "")
    service, _, name = target.partition(".")
    return "json", service, name


def _find(
    table: Mapping[tuple[str, str, str], Operation], key: tuple[str, str, str], principal: Principal | None
) -> Operation:
    operation = table.get(key)
    if principal is None and not (operation and operation.proves_itself):
        raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token")
    if operation is None:
        code = "InvalidAction" if key[0] == "query" else "UnknownOperationException"
        name, version = key[2][:NAME_CHARS_MAX], key[1][:NAME_CHARS_MAX]
        raise Refusal(code, f"Could not find operation {name} for version {version}")
    return operation


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Refusal("RequestEntityTooLarge", f"The request is larger than {BODY_BYTES_MAX} bytes")
    return body


def _form(request: Request, body: bytes) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=FIELDS_MAX,
            errors="strict",
        )
    except ValueError as error:
        raise Refusal("MalformedQueryString", "The form cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refusal("MalformedQueryString", "A field stands twice in the form")
    return fields


def _refused(refusal: Refusal, request_id: str, *, as_json: bool) -> Response:
    headers = {"x-amzn-RequestId": request_id}
    if as_json:
        name = refusal.code if refusal.code.endswith("Exception") else f"{refusal.code}Exception"
        return JSONResponse(
            {"__type": name, "message": refusal.message},
            status_code=refusal.status,
            headers=headers,
            media_type="application/x-amz-json-1.1",
        )
    xml = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{escape(refusal.code)}</Code><Message>{escape(printable(refusal.message))}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Response(xml, status_code=refusal.status, headers=headers, media_type="text/xml")


def printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold."""
    return "".join(char if char.isprintable() else " " for char in text)
