"""What every aiokafka client is opened with, and why a cluster does not let one in."""

from __future__ import annotations

import asyncio
import functools
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import conn
from aiokafka import errors as kafka
from aiokafka.protocol.metadata import MetadataRequest

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus.kafka import bootstrap as bootstrap_
from sixfold.bus.kafka import security, tokens
from sixfold.bus.kafka import settings as kafka_settings

_PREFIX = security.PREFIX
_REFUSED = (kafka.SaslAuthenticationFailed, kafka.AuthenticationFailedError)
_MECHANISM = (kafka.UnsupportedSaslMechanismError, kafka.IllegalSaslStateError)
_CERTIFICATE_WANTED = (
    "CERTIFICATE_REQUIRED",
    "HANDSHAKE_FAILURE",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
)
"""Alerts of a broker that does not like our certificate, or misses one."""


def options(settings: kafka_settings.KafkaSettings) -> dict[str, Any]:
    """Arguments that every client takes: none that differ from aiokafka's own for an open cluster."""
    found = settings.security
    made: dict[str, Any] = {"security_protocol": found.protocol}
    if found.tls:
        made["ssl_context"] = _context(found, _stamps(found))
    if found.mechanism == "OAUTHBEARER":
        made |= {"sasl_mechanism": found.mechanism, "sasl_oauth_token_provider": _tokens(found)}
    elif found.mechanism:
        made |= {
            "sasl_mechanism": found.mechanism,
            "sasl_plain_username": found.user,
            "sasl_plain_password": found.password,
        }
    return made


@functools.lru_cache(maxsize=8)
def _tokens(found: security.Security) -> tokens.Tokens:
    """One for all clients of a process, so that they share a token."""
    return tokens.Tokens(found, clocks.SystemClock())


def _stamps(found: security.Security) -> tuple[int, ...]:
    """A renewed certificate is another one, for clients that are opened from then on."""
    try:
        return tuple(Path(path).stat().st_mtime_ns for path in _files(found))
    except OSError as error:
        raise errors.UsageError(
            f"{error.filename} cannot be read: {error.strerror}; the bus needs it for TLS"
        ) from error


def _files(found: security.Security) -> list[str]:
    return [path for path in (found.ca_file, found.certificate_file, found.key_file) if path]


@functools.lru_cache(maxsize=8)
def _context(found: security.Security, _stamped: tuple[int, ...]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=found.ca_file or None)
    except ssl.SSLError as error:
        raise errors.UsageError(
            f"{_PREFIX}CA_FILE: {found.ca_file} has no certificates; expected PEM ({error.reason})"
        ) from error
    if found.certificate_file:
        key = found.key_file or found.certificate_file
        try:
            # A function, since without one OpenSSL asks at the terminal for the password of an encrypted key.
            context.load_cert_chain(found.certificate_file, key, lambda: found.key_password)
        except ssl.SSLError as error:
            raise errors.UsageError(
                f"{_PREFIX}CERTIFICATE_FILE {found.certificate_file} and the key in {key} cannot be used: "
                f"{error.reason or error}; expected a certificate and its own key in PEM, and the key's password in "
                f"{_PREFIX}KEY_PASSWORD if it has one"
            ) from error
    return context


class Refusal(NamedTuple):
    """Why no connection comes about."""

    text: str
    is_final: bool
    """Trying again does not help. Else it may also be a broker that is only starting."""


async def refusal(bootstrap: str, settings: kafka_settings.KafkaSettings, timeout_s: float) -> Refusal | None:
    """Why the brokers at `bootstrap` let nobody in, asked again: aiokafka only says that no connection came about.

    None where there is nothing to say but that nobody answers. The first final answer of any broker counts.
    """
    found: Refusal | None = None
    for host, port, _ in conn.collect_hosts(bootstrap):
        try:
            await bootstrap_.reach(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", timeout_s, timeout_s)
        except (OSError, TimeoutError):
            continue  # who takes a connection and then says nothing has a reason of its own
        try:
            async with asyncio.timeout(timeout_s):
                connection = await conn.create_conn(
                    host, port, request_timeout_ms=int(timeout_s * 1000), **options(settings)
                )
                try:
                    await connection.send(MetadataRequest([]))
                finally:
                    await connection.close()
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            said = explained(error, f"{host}:{port}", settings.security)
            if said is not None and said.is_final:
                return said
            found = found or said
    return found


def explained(error: BaseException, where: str, found: security.Security) -> Refusal | None:
    """What `error` of a connection to `where` means to whoever set it up. Pure; never has a secret in it."""
    name = f"user {found.user!r}" if found.user else "the token"
    match error:
        case tokens.TokenError():
            return Refusal(f"there is no token for Kafka at {where}: {error.args[0]}", True)
        case _ if isinstance(error, _REFUSED):
            check = (
                f"{_PREFIX}USER and {_PREFIX}PASSWORD" if found.user else "who issued it, and whether it has expired"
            )
            return Refusal(f"Kafka at {where} refuses {name} ({found.mechanism}); check {check}", True)
        case _ if isinstance(error, _MECHANISM):
            return Refusal(
                f"Kafka at {where} does not take {found.mechanism} on this port; name one that it takes in "
                f"{_PREFIX}MECHANISM, or another port",
                True,
            )
        case ssl.SSLCertVerificationError():
            return Refusal(
                f"the certificate of Kafka at {where} is not trusted: {error.verify_message}; name its authority's "
                f"certificate in {_PREFIX}CA_FILE, and a host that the certificate is for in the bus's address",
                True,
            )
        case ssl.SSLError() if any(word in (error.reason or "") for word in _CERTIFICATE_WANTED):
            return Refusal(_certificate(where, found), True)
        case kafka.KafkaConnectionError() | ConnectionError() | EOFError() | ssl.SSLError() | TimeoutError():
            cause = error.__cause__ or error.__context__
            if isinstance(cause, ssl.SSLError) and any(word in (cause.reason or "") for word in _CERTIFICATE_WANTED):
                return Refusal(_certificate(where, found), True)
            if isinstance(error, ConnectionRefusedError):
                return None
            return Refusal(_hung_up(where, found), False)
    return None


def _certificate(where: str, found: security.Security) -> str:
    ours = f"does not take the certificate of {found.certificate_file}" if found.certificate_file else "asks for one"
    return (
        f"Kafka at {where} wants a client's certificate and {ours}; name one that its authority has signed in "
        f"{_PREFIX}CERTIFICATE_FILE and {_PREFIX}KEY_FILE"
    )


def _hung_up(where: str, found: security.Security) -> str:
    if found.tls:
        return (
            f"Kafka at {where} does not speak TLS on this port, or is not up yet; take its TLS port, or set "
            f"{_PREFIX}TLS=false if nothing is to be encrypted"
        )
    if found.mechanism:
        return (
            f"Kafka at {where} ends the connection of a client without TLS, or is not up yet; drop {_PREFIX}TLS=false "
            "if the port speaks TLS"
        )
    return (
        f"Kafka at {where} ends the connection of a client without TLS and without a name, or is not up yet; if it is "
        f"secured, set {_PREFIX}CA_FILE, {_PREFIX}USER and {_PREFIX}PASSWORD as it asks for"
    )
