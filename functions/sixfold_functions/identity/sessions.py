"""Stateless session credentials: nothing about a session is stored, everything follows from two keys.

The secret of an access key is an HMAC of its id under `sts`; the session token is what the session may claim, sealed
under `session`. Whoever holds both keys can check a session, and no table of secrets exists that could be stolen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sixfold_functions.identity.refusal import Refusal

Entropy = Callable[[int], bytes]
"""A source of random bytes; `os.urandom` outside tests."""

TOKEN_CHARS_MAX = 8192
"""A session token carries at most fifty short claims; anything longer is not ours."""
ROLE, ROOT = "role", "root"
"""Kinds of sessions: an assumed role, or the operator who holds the bootstrap credential."""

_VERSION = 1
_LABEL = b"sixfold session token v1"


class SessionKeys(NamedTuple):
    """The two keys that sessions rest on, derived from the root key."""

    sts: bytes
    session: bytes

    def __repr__(self) -> str:
        return "SessionKeys(…)"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller holds, as AWS names it."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at_s: int

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id}, expires_at_s={self.expires_at_s})"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What a session token says, once it is opened."""

    access_key_id: str
    kind: str
    role: str
    """Name of the role; empty for the operator."""
    name: str
    issuer: str = ""
    subject: str = ""
    audience: str = ""
    tags: Mapping[str, tuple[str, ...]] = {}
    """The web identity's claims, which policies see as `aws:PrincipalTag/<claim>`."""
    issued_at_s: int
    expires_at_s: int


def mint(keys: SessionKeys, session: Session, entropy: Entropy) -> Credentials:
    """Credentials of `session`, whose `access_key_id` is from `access_key_id`."""
    plain = msgspec.json.encode(session)
    number, iv = entropy(16), entropy(12)
    header = bytes([_VERSION]) + number + iv
    sealed = header + AESGCM(_token_key(keys, number)).encrypt(iv, plain, _LABEL + header)
    token = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
    if len(token) > TOKEN_CHARS_MAX:
        raise Refusal("PackedPolicyTooLarge", "The claims of the token are too large for a session")
    return Credentials(
        access_key_id=session.access_key_id,
        secret_access_key=secret(keys, session.access_key_id),
        session_token=token,
        expires_at_s=session.expires_at_s,
    )


def access_key_id(entropy: Entropy) -> str:
    """A new temporary access key id: ASIA and sixteen base32 characters, as AWS's."""
    return "ASIA" + base64.b32encode(entropy(10)).decode()


def secret(keys: SessionKeys, access_key: str) -> str:
    """The secret that belongs to an access key id."""
    return base64.b64encode(hmac.digest(keys.sts, b"sixfold secret v1\0" + access_key.encode(), "sha256"))[:40].decode()


def open_token(keys: SessionKeys, access_key: str, token: str) -> Session:
    """The session of a token, expired or not. Raises Refusal (UnrecognizedClientException)."""
    session = _unseal(keys, token)
    if session is None or not hmac.compare_digest(session.access_key_id.encode(), access_key.encode()):
        raise Refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
    return session


def check_time(session: Session, now_s: float) -> None:
    """Raises Refusal (ExpiredTokenException) where the session has ended."""
    if now_s >= session.expires_at_s:
        raise Refusal("ExpiredTokenException", "The security token included in the request is expired")


def _token_key(keys: SessionKeys, number: bytes) -> bytes:
    # A key of its own for each token: 96-bit random nonces under one key would count toward GCM's 2^32 limit.
    return hmac.digest(keys.session, _LABEL + b"\0" + number, hashlib.sha256)


def _unseal(keys: SessionKeys, token: str) -> Session | None:
    if len(token) > TOKEN_CHARS_MAX or not token.isascii() or "=" in token:
        return None
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        header, number, iv, body = sealed[:29], sealed[1:17], sealed[17:29], sealed[29:]
        if (
            len(header) != 29
            or header[0] != _VERSION
            or base64.urlsafe_b64encode(sealed).rstrip(b"=") != token.encode()
        ):
            return None
        plain = AESGCM(_token_key(keys, number)).decrypt(iv, body, _LABEL + header)
        return msgspec.json.decode(plain, type=Session)
    except (binascii.Error, InvalidTag, ValueError, msgspec.MsgspecError):
        return None
