"""AWS Signature Version 4: whether a request was signed with a secret, and just now. Pure.

The signature covers method, path, query, the headers that it names, and the SHA-256 of the body. Stricter than AWS in
two points: a path that is not in its normal form, and a body that is not signed, are refused.

Sources: AWS IAM User Guide, "Create a signed AWS API request", "Troubleshoot Signature Version 4".
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from sixfold import errors

ALGORITHM = "AWS4-HMAC-SHA256"
WINDOW_S = 300
"""A signature's age at most, and how far a caller's clock may be ahead; AWS's own five minutes."""
_HEADER = re.compile(
    rf"{ALGORITHM} +Credential=([^/\s,]{{1,128}})/(\d{{8}})/([a-zA-Z0-9-]{{1,64}})/([a-zA-Z0-9-]{{1,64}})/aws4_request *, *"
    r"SignedHeaders=([a-z0-9;._-]{1,4096}) *, *Signature=([0-9a-f]{64})",
    re.ASCII,
)


class SignatureError(errors.SixfoldError):
    """A request is not signed as it must be; `code` is AWS's."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Signed(NamedTuple):
    """What an Authorization header says."""

    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str


class Request(NamedTuple):
    """A request as it came in."""

    method: str
    path: str
    """Percent-encoded, without the query."""
    query: str
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""


def parse(header: str) -> Signed:
    """What the header says. Raises SignatureError (IncompleteSignatureException)."""
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        raise SignatureError(
            "IncompleteSignatureException",
            f"expected `{ALGORITHM} Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…`",
            400,
        )
    access_key, date, region, service, names, signature = found.groups()
    return Signed(access_key, date, region, service, tuple(names.split(";")), signature)


def precheck(signed: Signed, request: Request, now_s: float) -> str:
    """The time at which it was signed, as it stands in the request. Raises SignatureError.

    All that can be said without the secret and the body: time, headers that must be covered, form of the path.
    """
    if list(signed.headers) != sorted(set(signed.headers)):
        raise _invalid("SignedHeaders must be sorted, each once")
    names = {name for name, _ in request.headers}
    needed = {"host", *(name for name in names if name.startswith("x-amz-"))}
    if missing := sorted(needed - set(signed.headers)):
        raise _invalid(f"the header {missing[0]} must be signed")
    if absent := sorted(set(signed.headers) - names):
        raise _invalid(f"the signed header {absent[0]} is not in the request")
    stamped = [value for name, value in request.headers if name == "x-amz-date"]
    if len(stamped) != 1 or not re.fullmatch(r"\d{8}T\d{6}Z", stamped[0], re.ASCII):
        raise _invalid("expected one X-Amz-Date such as 20141113T170000Z")
    try:
        signed_s = calendar.timegm(time.strptime(stamped[0], "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise _invalid(f"X-Amz-Date {stamped[0]} is no time") from error
    if abs(now_s - signed_s) > WINDOW_S or stamped[0][:8] != signed.date:
        raise _invalid(f"it was signed at {stamped[0]}, more than {WINDOW_S} s from now, or for another day")
    if any(segment in ("", ".", "..") for segment in request.path.split("/")[1:-1]):
        raise _invalid("the path is not in its normal form")
    return stamped[0]


def check(signed: Signed, request: Request, body_sha256: str, secret: str, now_s: float) -> None:
    """Raises SignatureError where `secret` did not sign this request, with this body, just now."""
    stamp = precheck(signed, request, now_s)
    for name, value in request.headers:
        if name == "x-amz-content-sha256" and not hmac.compare_digest(value.encode(), body_sha256.encode()):
            raise _invalid("X-Amz-Content-Sha256 is not that of the body")
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    digest = hashlib.sha256(canonical(signed, request, body_sha256).encode()).hexdigest()
    text = "\n".join((ALGORITHM, stamp, scope, digest))
    expected = hmac.digest(signing_key(secret, signed), text.encode(), "sha256").hex()
    if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
        raise _invalid(
            "the signature does not match: check the secret, and that nothing changes the request on its way"
        )


def canonical(signed: Signed, request: Request, body_sha256: str) -> str:
    """The request in the form that is signed."""
    pairs = sorted(tuple(pair.partition("=")[::2]) for pair in request.query.split("&") if pair)
    values: dict[str, list[str]] = {name: [] for name in signed.headers}
    for name, value in request.headers:
        if name in values:
            values[name].append(" ".join(value.split()))
    return "\n".join(
        (
            request.method,
            quote(request.path or "/", safe="/~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{','.join(values[name])}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            body_sha256,
        )
    )


def signing_key(secret: str, signed: Signed) -> bytes:
    """The key of a day, a region and a service."""
    key = f"AWS4{secret}".encode()
    for part in (signed.date, signed.region, signed.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _invalid(why: str) -> SignatureError:
    return SignatureError("InvalidSignatureException", f"the request's signature is not valid: {why}")
