"""A development issuer: a key pair in the data folder that signs web identity tokens for trials and demonstrations.

Its key lies in `identity/issuer-<name>.json`, 0600. Whoever has the file can be anybody for the roles that trust the
issuer, so production roles trust a real one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from sixfold import errors

ALGORITHM = "ES256"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_RESERVED = {"iss", "sub", "aud", "iat", "exp", "nbf"}


class LocalIssuerError(errors.UsageError):
    """The development issuer is missing or cannot be made."""


def url_of(name: str) -> str:
    """The `iss` of its tokens; `.internal` is reserved for private use, so nobody else can have it."""
    if not _NAME.match(name):
        raise LocalIssuerError(f"issuer name {name!r}: expected lower-case letters, digits and -, at most 63")
    return f"https://{name}.sixfold.internal"


def path_of(data_dir: Path, name: str) -> Path:
    """Where its key lies."""
    url_of(name)
    return data_dir / "identity" / f"issuer-{name}.json"


def create(data_dir: Path, name: str) -> str:
    """Make the key unless it exists; returns the public JWKS. Raises LocalIssuerError."""
    path = path_of(data_dir, name)
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise LocalIssuerError(
            f"{path} cannot be written: {error.strerror}; free it or its folder, then try again"
        ) from error
    return json.dumps({"keys": [_load(path).as_dict(private=False)]})


def _make(path: Path) -> None:
    key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(8), "use": "sig", "alg": ALGORITHM}, private=True)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(key.as_dict(private=True), file)


def token(
    data_dir: Path, name: str, *, subject: str, audience: str, claims: Mapping[str, Any], now_s: int, lifetime_s: int
) -> str:
    """A signed web identity token. Raises LocalIssuerError."""
    key = _load(path_of(data_dir, name))
    reserved = sorted(_RESERVED & set(claims))
    if reserved:
        raise LocalIssuerError(f"claim {reserved[0]!r} is set by its own option; leave it out of --claim")
    body = {
        "iss": url_of(name),
        "sub": subject,
        "aud": audience,
        "iat": now_s,
        "exp": now_s + lifetime_s,
        "jti": secrets.token_hex(16),
        **claims,
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, body, key, algorithms=[ALGORITHM])


def _load(path: Path) -> ECKey:
    try:
        return ECKey.import_key(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise LocalIssuerError(f"no issuer at {path}; make it with `sixfold identity issuer create-local`") from error
    except (OSError, ValueError) as error:
        raise LocalIssuerError(f"{path} cannot be read as an issuer's key: {error}") from error
