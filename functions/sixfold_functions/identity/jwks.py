"""JSON Web Key Sets of issuers, read strictly: only public signature keys, each with one algorithm.

The algorithm is a property of the key, never of the token, so a token cannot choose how it is checked.
Source: RFC 7517, RFC 7518, RFC 8037.
"""

from __future__ import annotations

import json
import warnings
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

JWKS_CHARS_MAX = 100_000
KEYS_MAX = 50
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_KINDS: dict[tuple[str, str], tuple[str, type[RSAKey | ECKey | OKPKey]]] = {
    ("RSA", ""): ("RS256", RSAKey),
    ("EC", "P-256"): ("ES256", ECKey),
    ("OKP", "Ed25519"): ("EdDSA", OKPKey),
}


class MalformedKeySetError(ValueError):
    """A JWKS cannot be registered; the message says what was expected and what was found."""


class PublicKey(NamedTuple):
    """One pinned key."""

    key_id: str | None
    algorithm: str
    public: RSAKey | ECKey | OKPKey


class KeySet(NamedTuple):
    """An issuer's pinned keys."""

    keys: tuple[PublicKey, ...]

    def find(self, key_id: str | None, algorithm: str) -> PublicKey | None:
        """The key that a token with this header must be signed by; without a kid only where there is one key."""
        if key_id is None:
            candidates = list(self.keys) if len(self.keys) == 1 else []
        else:
            candidates = [key for key in self.keys if key.key_id == key_id]
        return next((key for key in candidates if key.algorithm == algorithm), None)


def parse(text: str) -> KeySet:
    """Read a JWKS. Raises MalformedKeySetError."""
    if len(text) > JWKS_CHARS_MAX:
        raise MalformedKeySetError(f"the JWKS has {len(text)} characters, expected at most {JWKS_CHARS_MAX}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedKeySetError(f"the JWKS is not JSON: {error}") from error
    raw = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(raw, list) or not 0 < len(raw) <= KEYS_MAX:
        raise MalformedKeySetError(f'expected {{"keys": […]}} with 1 to {KEYS_MAX} keys')
    keys = tuple(key for index, each in enumerate(raw) if (key := _key(index, each)) is not None)
    if not keys:
        raise MalformedKeySetError("the JWKS has no signature key; expected RS256, ES256 or Ed25519 keys")
    identifiers = [key.key_id for key in keys]
    if len(set(identifiers)) != len(identifiers) or (len(keys) > 1 and None in identifiers):
        raise MalformedKeySetError("every key of the JWKS needs a kid of its own")
    return KeySet(keys)


def _key(index: int, raw: Any) -> PublicKey | None:
    """A signature key; None for a key of another use, which may stand in the same set."""
    if not isinstance(raw, dict):
        raise MalformedKeySetError(f"key {index}: expected an object, found {type(raw).__name__}")
    if _PRIVATE & set(raw):
        raise MalformedKeySetError(
            f"key {index}: it has private parts; register public keys only, and replace this one"
        )
    if raw.get("use", "sig") != "sig" or "verify" not in raw.get("key_ops", ["verify"]):
        return None
    kind = _KINDS.get((raw.get("kty", ""), raw.get("crv", "")))
    if kind is None:
        raise MalformedKeySetError(
            f"key {index}: kty {raw.get('kty')!r}, crv {raw.get('crv')!r}; expected RSA, EC P-256 or OKP Ed25519"
        )
    algorithm, cls = kind
    if raw.get("alg", algorithm) not in (algorithm, "Ed25519" if algorithm == "EdDSA" else algorithm):
        raise MalformedKeySetError(f"key {index}: alg is {raw['alg']!r}, expected {algorithm} for a key of this kind")
    key_id = raw.get("kid")
    if key_id is not None and (not isinstance(key_id, str) or not key_id):
        raise MalformedKeySetError(f"key {index}: kid is no text")
    material = {name: value for name, value in raw.items() if name in ("kty", "crv", "x", "y", "n", "e")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # small keys are refused below
            public = cls.import_key(material)
            native = public.public_key
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise MalformedKeySetError(f"key {index}: not a valid {raw['kty']} public key") from error
    if isinstance(native, RSAPublicKey) and not RSA_BITS_MIN <= native.key_size <= RSA_BITS_MAX:
        raise MalformedKeySetError(f"key {index}: {native.key_size} bits, expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")
    return PublicKey(key_id, algorithm, public)
