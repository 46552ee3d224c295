"""Signed requests at the gateway: the body is read and held until its signature is known to be good, within a budget.

The bootstrap credential signs (access key id `bootstrap`, its token as the secret), and whom capabilities know.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from starlette.types import Message, Receive, Scope

from sixfold import clock as clocks
from sixfold.gateway import sigv4
from sixfold.gateway.credentials import Verifier
from sixfold.gateway.problems import Problem
from sixfold.gateway.route import BODY_BYTES_MAX, Principal, Signer

HELD_BYTES_MAX = 64 * 1024 * 1024
"""Bodies whose signatures are not checked yet, all requests together; eight of the largest."""
BODY_S = 30.0
"""A signed body must be here so soon: until then it takes up room that others need."""


class Signatures:
    """Checks signatures."""

    def __init__(self, verifier: Verifier, clock: clocks.Clock, signers: Sequence[Signer] = ()) -> None:
        self._verifier = verifier
        self._signers = signers
        self._clock = clock
        self._held_bytes = 0

    async def admit(self, header: str, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Who signed, and the body to read again. Raises Problem."""
        try:
            signed = sigv4.parse(header)
            request = _request(scope)
            now_s = self._clock.now()
            sigv4.precheck(signed, request, now_s)
            secret, principal = await self._signer(signed.access_key, request)
            body = await self._body(receive)
            sigv4.check(signed, request, hashlib.sha256(body).hexdigest(), secret, now_s)
            scope["aws_region"] = signed.region
        except sigv4.SignatureError as error:
            raise Problem(error.status, str(error), headers={"x-amzn-ErrorType": error.code}) from error
        return principal, _again(body, receive)

    async def _signer(self, access_key: str, request: sigv4.Request) -> tuple[str, Principal]:
        tokens = [value for name, value in request.headers if name == "x-amz-security-token"]
        if len(tokens) > 1:
            raise sigv4.SignatureError("IncompleteSignatureException", "expected one X-Amz-Security-Token", 400)
        known = None if tokens else self._verifier.signer(access_key)
        for signer in self._signers:
            known = known or await signer(access_key, tokens[0] if tokens else None)
        if known is None:
            raise sigv4.SignatureError(
                "UnrecognizedClientException",
                "the access key or its session token is not known here: sign with a session's credentials, or with the "
                "access key id `bootstrap` and the token of <data folder>/credentials/bootstrap.token as the secret, "
                "without a session token",
            )
        return known

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Problem(400, "the client left before its request's body was here")
                    part = message.get("body", b"")
                    size += len(part)
                    self._held_bytes += len(part)
                    if size > BODY_BYTES_MAX:
                        raise Problem(413, f"the body of a signed request takes more than {BODY_BYTES_MAX:,} bytes")
                    if self._held_bytes > HELD_BYTES_MAX:
                        raise Problem(503, "too many signed requests at once", headers={"Retry-After": "1"})
                    parts.append(part)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise Problem(408, f"the request's body was not here within {BODY_S:g} s") from error
        finally:
            self._held_bytes -= size
        return b"".join(parts)


def _request(scope: Scope) -> sigv4.Request:
    return sigv4.Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]],
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` that gives `body` first, then what comes from the client (that it left)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
