"""Who may come in: an ASGI layer in front of all routes. Bodies pass it as streams, counted and never held."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sixfold.gateway import problems, sigv4
from sixfold.gateway.aws import endpoint
from sixfold.gateway.credentials import Verifier
from sixfold.gateway.problems import Problem
from sixfold.gateway.route import Principal, Route
from sixfold.gateway.signing import Signatures

HEADER_BYTES_MAX = 32 * 1024
"""All headers together; nginx takes 32 KiB (four buffers of 8)."""
# Both schemes are offered: Bearer for programs, Basic because git asks its credential helper only then.
CHALLENGE = 'Basic realm="sixfold", charset="UTF-8", Bearer realm="sixfold"'


class Authentication:
    """Answers 401 to whoever shows no valid credential, except on public routes; else sets scope["principal"]."""

    def __init__(
        self, app: ASGIApp, *, verifier: Verifier, signatures: Signatures, public: Sequence[StarletteRoute]
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._signatures = signatures
        self._public = tuple(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a websocket is not ours; the server closes it
        try:
            receive = await self._admit(scope, receive)
        except Problem as problem:
            answer = endpoint.refusal(scope, problem) or problems.response(problem)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Sets the principal; returns what gives the body from now on. Raises Problem."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES_MAX:
            raise Problem(431, f"the headers take more than {HEADER_BYTES_MAX:,} bytes")
        header = Headers(scope=scope).get("authorization", "")
        public = any(route.matches(scope)[0] is Match.FULL for route in self._public)
        if header.startswith(sigv4.ALGORITHM):
            scope["principal"], receive = await self._signatures.admit(header, scope, receive)
            return receive
        principal = self._verifier.principal(offered(header)) if header else None
        scope["principal"] = principal
        if principal is not None or public:
            return receive
        what = "the credential is not valid" if header else "a credential is needed"
        raise Problem(
            401,
            f"{what}: send the token of <data folder>/credentials/bootstrap.token as `Authorization: Bearer TOKEN`, "
            "or as the password with git",
            headers={"WWW-Authenticate": CHALLENGE},
        )


def offered(header: str) -> str:
    """The token in an Authorization header: Bearer's, or Basic's password. Empty where there is none."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


class Guard:
    """One route's own rules: which principals may call it, and how large a body may be."""

    def __init__(self, app: ASGIApp, route: Route) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, principal = self._route, scope.get("principal")
        if not route.public and (principal is None or principal.kind not in route.allow):
            raise Problem(403, f"this is for {' and '.join(route.allow)}; {_who(principal)}")
        limit = route.body_bytes_max
        if limit is not None:
            length = Headers(scope=scope).get("content-length", "0")
            if length.isdigit() and int(length) > limit:
                raise _too_large(limit)
            receive = _limited(receive, limit)
        await self._app(scope, receive, send)


def _who(principal: Principal | None) -> str:
    return f"the credential shown is of {principal.kind} {principal.name}" if principal else "no credential was shown"


def _too_large(limit: int) -> Problem:
    # The server reads on and throws away, so that the client gets to see this answer instead of a reset connection.
    return Problem(413, f"the request's body takes more than {limit:,} bytes")


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
        return message

    return counted
