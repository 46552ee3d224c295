"""A request to the registry as its handlers see it, and their answers as responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sixfold_functions.registry.refusal import RefusedError

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
NUMBER_MAX = 2**31 - 1


class Asked:
    """One request."""

    def __init__(self, request: Request, body: Mapping[str, Any]) -> None:
        self.body = body
        self._path: Mapping[str, Any] = request.path_params
        self._query = request.query_params

    def part(self, name: str) -> str:
        """A part of the path; empty where this path has none."""
        return str(self._path.get(name, ""))

    def flag(self, *names: str) -> bool:
        """A query parameter that is true or false, as Java or Python spells it."""
        return any(self._query.get(name, "").lower() == "true" for name in names)

    def text(self, name: str) -> str:
        """A query parameter."""
        return self._query.get(name, "")

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number."""
        text = self._query.get(name, "")
        try:
            return max(-1, min(int(text), NUMBER_MAX)) if text else default
        except ValueError:
            raise RefusedError(400, f"{name}: expected a number, found {text!r}") from None


Handler = Callable[[Asked], Awaitable[Any]]


def endpoint(handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    """One path's endpoint: the handler of the request's method, its refusals as Confluent's clients read them."""

    async def answer(request: Request) -> Response:
        try:
            found = await handlers[request.method](Asked(request, await _body(request)))
        except RefusedError as refused:
            return _json({"error_code": refused.code, "message": str(refused)}, refused.status)
        return found if isinstance(found, Response) else _json(found, 200)

    return answer


async def _body(request: Request) -> Mapping[str, Any]:
    if request.method not in ("POST", "PUT"):
        return {}
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "expected a JSON object")
    return body


def _json(found: Any, status: int) -> Response:
    return Response(msgspec.json.encode(found), status_code=status, media_type=CONTENT_TYPE)
