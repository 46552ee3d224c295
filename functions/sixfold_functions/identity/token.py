"""Web identity tokens: a strict filter before the JWT library, the signature by a pinned key, then the claims.

Libraries accept more than they should (sloppy base64, keys named by the token itself); the filter takes only the one
form that issuers really write. Sources: RFC 7515, RFC 7519, RFC 8725; Wycheproof's `json_web_signature` vectors.
"""

from __future__ import annotations

import base64
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning

from sixfold_functions.identity.jwks import KeySet
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.policies import keys

TOKEN_CHARS_MAX = 20_000
"""As botocore's model of WebIdentityToken."""
LEEWAY_S = 60
"""Clocks of issuer and gateway may differ by this much."""
LIFETIME_MAX_S = 24 * 3600
"""A token that is good for longer than a day is no short-lived proof."""
TEXT_CHARS_MAX = 256
"""Longest claim that becomes a principal tag, as AWS's session tags."""
TAGS_MAX = 50
"""As AWS's session tags."""
NUMBER_CHARS_MAX = 32
"""Longest number: room for every 64-bit integer and every float, not for one that only costs time."""
DATE_S_MAX = 253_402_300_800
"""The year 10000; no date of a token lies beyond."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\Z")
_HEADER_KEYS = {"alg", "kid", "typ"}
_REGISTERED = {"iss", "aud", "exp", "iat", "nbf", "jti"}


class Issuer(NamedTuple):
    """A registered issuer: who it is, which audiences it may address, its pinned keys."""

    url: str
    audiences: tuple[str, ...]
    keys: KeySet


class Identity(NamedTuple):
    """What a verified token says."""

    issuer: str
    subject: str
    audience: str
    claims: Mapping[str, tuple[str, ...]]
    """Every claim that is text, a number, a boolean or a list of texts, as texts; `sub` included."""


class Unverified(NamedTuple):
    """A token that passed the filter; nothing of it is believed yet."""

    algorithm: str
    key_id: str | None
    issuer: str
    payload: Mapping[str, Any]


def _invalid(message: str) -> Refusal:
    return Refusal("InvalidIdentityToken", message)


def read(token: str) -> Unverified:
    """Let a well-formed token through. Raises Refusal (InvalidIdentityToken)."""
    if len(token) > TOKEN_CHARS_MAX:
        raise _invalid(f"The token has {len(token)} characters, expected at most {TOKEN_CHARS_MAX}")
    segments = token.split(".")
    if len(segments) != 3:
        raise _invalid(f"The token has {len(segments)} segments, expected 3")
    header, payload, _ = _decode(segments[0]), _decode(segments[1]), _decode(segments[2])
    head, body = _object(header, "header"), _object(payload, "payload")
    unknown = sorted(set(head) - _HEADER_KEYS)
    if unknown:
        raise _invalid(f"The token's header has {unknown[0]!r}, expected alg, kid and typ only")
    algorithm, key_id, issuer = head.get("alg"), head.get("kid"), body.get("iss")
    if not isinstance(algorithm, str) or not isinstance(head.get("typ", "JWT"), str):
        raise _invalid("The token's header lacks alg, or typ is no text")
    if key_id is not None and not isinstance(key_id, str):
        raise _invalid("The token's kid is no text")
    if not isinstance(issuer, str) or not issuer:
        raise _invalid("The token has no iss")
    return Unverified(algorithm, key_id, issuer, body)


def _decode(segment: str) -> bytes:
    if not _SEGMENT.match(segment) or len(segment) % 4 == 1:
        raise _invalid("The token is not base64url without padding")
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != segment:
        raise _invalid("The token is not canonical base64url")
    return data


def _object(data: bytes, part: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def number(text: str) -> int | float:
        if len(text) <= NUMBER_CHARS_MAX:
            found = int(text) if text.lstrip("-").isdecimal() else float(text)
            if abs(found) < float("inf"):
                return found
        raise _invalid(f"The token's {part} has the number {text[:NUMBER_CHARS_MAX]}, which is too large or too long")

    try:
        value = json.loads(
            data.decode(), object_pairs_hook=unique, parse_constant=refuse, parse_int=number, parse_float=number
        )
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text, and could not be recorded
    except (ValueError, RecursionError) as error:
        raise _invalid(f"The token's {part} is not a JSON object") from error
    if not isinstance(value, dict):
        raise _invalid(f"The token's {part} is not a JSON object")
    return value


def verify(token: str, issuers: Mapping[str, Issuer], now_s: float) -> Identity:
    """The identity that `token` proves at `now_s`. Raises Refusal with AWS's codes."""
    unverified = read(token)
    issuer = issuers.get(unverified.issuer)
    if issuer is None:
        raise _invalid("No OpenIDConnect provider found in your account for " + unverified.issuer[:TEXT_CHARS_MAX])
    key = issuer.keys.find(unverified.key_id, unverified.algorithm)
    if key is None:
        raise _invalid("Couldn't retrieve verification key from your identity provider")
    try:
        with warnings.catch_warnings():
            # RFC 9864 renames EdDSA to Ed25519; issuers in the field still write EdDSA, and the key pins the curve.
            warnings.simplefilter("ignore", SecurityWarning)
            jws.deserialize_compact(token, key.public, algorithms=[key.algorithm])
    except (JoseError, ValueError) as error:
        raise _invalid("The token's signature is not that of its issuer") from error
    return _identity(issuer, unverified.payload, now_s)


def _identity(issuer: Issuer, payload: Mapping[str, Any], now_s: float) -> Identity:
    expires, issued, earliest = _date(payload, "exp"), _date(payload, "iat"), _date(payload, "nbf", required=False)
    if now_s >= expires + LEEWAY_S:
        raise Refusal("ExpiredTokenException", f"Token expired: current date/time {int(now_s)} is after {int(expires)}")
    if issued > now_s + LEEWAY_S or (earliest is not None and earliest > now_s + LEEWAY_S):
        raise _invalid("The token is not good yet: iat or nbf lies in the future")
    if expires - issued > LIFETIME_MAX_S:
        raise _invalid(f"The token is good for {int(expires - issued)} s, expected at most {LIFETIME_MAX_S} s")
    twins = keys.twins(payload)
    if twins:
        shown = " and ".join(repr(name[:TEXT_CHARS_MAX]) for name in twins)
        raise _invalid(f"The token has the claims {shown}, which no policy can tell apart: they differ in case only")
    audience = _audience(issuer.audiences, payload.get("aud"))
    subject = payload.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= TEXT_CHARS_MAX:
        raise _invalid(f"The token has no sub, or not one of 1 to {TEXT_CHARS_MAX} characters")
    return Identity(issuer.url, subject, audience, _claims(payload))


def _date(payload: Mapping[str, Any], name: str, *, required: bool = True) -> float:
    value = payload.get(name)
    if value is None and not required:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < DATE_S_MAX:
        raise _invalid(f"The token's {name} is no time, or missing")
    return value


def _audience(allowed: Sequence[str], found: Any) -> str:
    audiences = found if isinstance(found, list) else [found]
    for audience in audiences:
        if isinstance(audience, str) and audience in allowed:
            return audience
    raise _invalid("Incorrect token audience")


def _claims(payload: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    claims: dict[str, tuple[str, ...]] = {}
    for name, value in payload.items():
        values = value if isinstance(value, list) else [value]
        texts = tuple(_text(each) for each in values if isinstance(each, str | int | float))
        if name in _REGISTERED or not texts or len(texts) != len(values):
            continue
        if len(name) > TEXT_CHARS_MAX or any(len(text) > TEXT_CHARS_MAX for text in texts) or len(texts) > TAGS_MAX:
            raise Refusal("PackedPolicyTooLarge", f"The claim {name[:32]!r} is larger than {TEXT_CHARS_MAX} characters")
        claims[name] = texts
    if len(claims) > TAGS_MAX:
        raise Refusal("PackedPolicyTooLarge", f"The token has {len(claims)} claims, expected at most {TAGS_MAX}")
    return claims


def _text(value: str | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
