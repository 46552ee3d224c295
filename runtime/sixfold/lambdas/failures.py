"""Errors of Lambda's API in the shape that AWS's clients read: a type in a header, a message in JSON."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sixfold import errors
from sixfold.bus import port
from sixfold.lambdas import context


class ApiError(errors.SixfoldError):
    """A call that Lambda's API refuses; `code` is AWS's."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def no_function(name: str) -> ApiError:
    """There is no such function."""
    return ApiError("ResourceNotFoundException", f"Function not found: {context.arn(name)}", 404)


def invalid(message: str) -> ApiError:
    """A parameter is not as it must be."""
    return ApiError("InvalidParameterValueException", message)


def response(error: ApiError, request_id: str = "") -> Response:
    """The answer."""
    body = {"Type": "User" if error.status < 500 else "Service", "Message": str(error), "message": str(error)}
    headers = {"x-amzn-ErrorType": error.code}
    if request_id:
        headers["x-amzn-RequestId"] = request_id
    return Response(msgspec.json.encode(body), error.status, headers, "application/json")


def answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """`endpoint` with its errors answered in this shape."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError as error:
            return response(error)
        except port.BusError as error:
            return response(ApiError("ServiceException", f"the bus does not take it: {error}", 503))

    return answer
