"""Errors of the gateway as JSON problem details. Source: RFC 9457."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sixfold import bus, errors
from sixfold.catalogue import UnknownNameError
from sixfold.json_events import EventDataError, EventTooLargeError

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class Problem(errors.SixfoldError):
    """A request that cannot be answered as asked; `fields` are members of the answer beside RFC 9457's own."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **fields: str | int
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.fields = fields


def response(problem: Problem) -> Response:
    """The answer that says what is wrong."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": str(problem),
        **problem.fields,
    }
    return Response(
        msgspec.json.encode(body), status_code=problem.status, headers=problem.headers, media_type=CONTENT_TYPE
    )


def of(error: Exception) -> Problem:
    """What an error of ours means to a caller over HTTP; one that is not ours tells nothing of the inside."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return Problem(error.status_code, str(error.detail), headers=error.headers)
        case EventTooLargeError() | bus.RecordTooLargeError():
            return Problem(413, str(error))
        case EventDataError():
            return Problem(422, str(error), field=error.field)
        case UnknownNameError() | bus.UnknownTopicError():
            return Problem(404, str(error))
        case RecursionError():  # only what a caller sends is ever that deep
            return Problem(400, "the request is nested too deeply; send it flatter")
        case errors.UsageError():
            return Problem(400, str(error))
        case bus.BusUnavailableError() | bus.StorageFullError() | errors.TemporaryError() | TimeoutError():
            return Problem(503, str(error) or "the bus does not answer", headers={"Retry-After": str(RETRY_AFTER_S)})
        case _:
            return Problem(500, "something is wrong inside the gateway; its log says what")


async def handle(_request: Request, error: Exception) -> Response:
    """Starlette's exception handler."""
    return response(of(error))
