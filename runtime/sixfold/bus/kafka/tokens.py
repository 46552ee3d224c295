"""Tokens for OAUTHBEARER: from a command, a file, or an OpenID provider's token endpoint.

aiokafka asks for a token for each connection. It does not re-authenticate (KIP-368): a broker closes the connection when
the token has expired, and the next one brings a new token.
"""

from __future__ import annotations

import asyncio
import shlex
import ssl
from pathlib import Path
from typing import Any

import httpx
from aiokafka import abc, conn
from aiokafka import errors as kafka

from sixfold import clock as clocks
from sixfold.bus.kafka import security

TIMEOUT_S = 10.0
"""For one token; whoever waits for it waits for the bus."""
TOKEN_BYTES_MAX = 64 * 1024
MARGIN_S = 30.0
"""A token of the endpoint that is about to expire is not used again; one that lives for less than a minute is used for
half of its life."""


class TokenError(kafka.KafkaConnectionError):  # type: ignore[misc]  # as below
    """No token can be had. aiokafka takes it for a connection that failed, and tries again."""


class _Authenticator(conn.OAuthAuthenticator):  # type: ignore[misc]  # as below
    """aiokafka takes whatever a broker answers for a welcome, and is then told of a cluster without brokers."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if self._token_sent and payload:  # RFC 7628, 3.2.2: a server that refuses the token says why, else nothing
            raise kafka.SaslAuthenticationFailed("the broker refuses the token")
        said: tuple[bytes, bool] | None = await super().step(payload)
        return said


conn.OAuthAuthenticator = _Authenticator  # there is no other way to give a connection its authenticator


class Tokens(abc.AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """What aiokafka asks."""

    def __init__(self, found: security.Security, clock: clocks.Clock) -> None:
        self._security = found
        self._clock = clock
        self._kept = ""
        self._kept_until_s = 0.0

    async def token(self) -> str:
        """A token that is good now. Raises TokenError, whose message never has a secret in it."""
        found = self._security
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if found.token_command:
                    token = await _printed(found.token_command)
                elif found.token_file:
                    token = await asyncio.to_thread(_written, Path(found.token_file))
                else:
                    token = await self._granted()
        except TimeoutError:
            raise TokenError(f"no token came within {TIMEOUT_S:g} s from {_source(found)}") from None
        if not token or len(token) > TOKEN_BYTES_MAX or not token.isascii() or not token.isprintable() or " " in token:
            raise TokenError(f"{_source(found)} gave no token; expected one line, a token and nothing else")
        return token

    async def _granted(self) -> str:
        # A process opens dozens of connections at once; the endpoint is asked when the token nears its end.
        if self._clock.monotonic() < self._kept_until_s:
            return self._kept
        found = self._security
        form = {"grant_type": "client_credentials", **({"scope": found.scope} if found.scope else {})}
        where = f"the token endpoint {found.token_url}"
        try:
            async with httpx.AsyncClient(verify=_trust(found), timeout=TIMEOUT_S, trust_env=False) as client:
                # By the Authorization header, which every server must take (RFC 6749, 2.3.1).
                answer = await client.post(found.token_url, data=form, auth=(found.client_id, found.client_secret))
        except httpx.HTTPError as error:
            raise TokenError(f"{where} does not answer: {type(error).__name__}: {error}") from error
        content = _json(answer)
        if answer.status_code != 200 or not isinstance(content.get("access_token"), str):
            why = content.get("error_description") or content.get("error") or "no access_token in its answer"
            raise TokenError(
                f"{where} gave no token to client {found.client_id!r} (HTTP {answer.status_code}: {why}); "
                f"check {security.PREFIX}CLIENT_ID and {security.PREFIX}CLIENT_SECRET"
            )
        life = content.get("expires_in")
        life_s = float(life) if isinstance(life, int | float) else 0.0
        self._kept = str(content["access_token"])
        self._kept_until_s = self._clock.monotonic() + (life_s - MARGIN_S if life_s > 2 * MARGIN_S else life_s / 2)
        return self._kept


def _source(found: security.Security) -> str:
    if found.token_command:
        # Its first word only: an argument may be a secret.
        return f"{security.PREFIX}TOKEN_COMMAND ({shlex.split(found.token_command)[0]})"
    if found.token_file:
        return f"{security.PREFIX}TOKEN_FILE {found.token_file}"
    return f"the token endpoint {found.token_url}"


async def _printed(command: str) -> str:
    words = shlex.split(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise TokenError(f"{security.PREFIX}TOKEN_COMMAND: {words[0]} cannot be run: {error.strerror}") from error
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise TokenError(f"{security.PREFIX}TOKEN_COMMAND: {words[0]} failed with exit code {process.returncode}")
    return output.decode(errors="replace").strip()


def _written(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_BYTES_MAX + 1).decode(errors="replace").strip()
    except OSError as error:
        raise TokenError(f"{security.PREFIX}TOKEN_FILE: {path} cannot be read: {error.strerror}") from error


def _trust(found: security.Security) -> ssl.SSLContext:
    """The provider is often a public one while the brokers' authority is our own: both are believed."""
    context = ssl.create_default_context()
    if found.ca_file:
        context.load_verify_locations(found.ca_file)
    return context


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
