"""Signature Version 4: what botocore signs is taken, and nothing that differs from it."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.gateway.conftest import Running

from sixfold.gateway import credentials, signing, sigv4

NOW = datetime.datetime(2014, 11, 13, 17, 0, 0, tzinfo=datetime.UTC)
SECRET = "a secret"
BODY = b'{"n": 1}'
URL = "http://127.0.0.1:6480/2015-03-31/functions/a%3Ab/invocations?Qualifier=1&A=x%20y"


def signed(
    body: bytes = BODY,
    *,
    url: str = URL,
    secret: str = SECRET,
    at: datetime.datetime = NOW,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> tuple[sigv4.Signed, sigv4.Request, str]:
    """A request as botocore signs it, as the gateway sees it."""
    request = AWSRequest(
        method, url, headers={"Host": "127.0.0.1:6480", "X-Amz-Log-Type": "Tail", **(headers or {})}, data=body
    )
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None), raising=False)
        SigV4Auth(Credentials("bootstrap", secret), "lambda", "eu-central-1").add_auth(request)
    found = [(name.lower(), str(value)) for name, value in request.headers.items()]
    path, _, query = url.removeprefix("http://127.0.0.1:6480").partition("?")
    headers_in = [each for each in found if each[0] != "authorization"]
    return (
        sigv4.parse(request.headers["Authorization"]),
        sigv4.Request(method, path, query, headers_in),
        hashlib.sha256(body).hexdigest(),
    )


def refused(request: tuple[sigv4.Signed, sigv4.Request, str], *, secret: str = SECRET, at_s: float = 0) -> str:
    """Why it is refused."""
    with pytest.raises(sigv4.SignatureError) as caught:
        sigv4.check(*request, secret, NOW.timestamp() + at_s)
    assert caught.value.code == "InvalidSignatureException"
    return str(caught.value)


def test_what_botocore_signs_is_taken() -> None:
    """With a query, encoded characters, and headers of its own."""
    sigv4.check(*signed(), SECRET, NOW.timestamp())
    sigv4.check(*signed(b"", method="GET", headers={"X-Amz-B": "  two   spaces "}), SECRET, NOW.timestamp())
    sigv4.check(*signed(url="http://127.0.0.1:6480/2015-03-31/event-source-mappings/"), SECRET, NOW.timestamp())


def test_awss_own_example_comes_out_as_awss_signature() -> None:
    """The signing key and the canonical request are those of AWS's published test suite (get-vanilla)."""
    one = sigv4.Signed("AKIDEXAMPLE", "20150830", "us-east-1", "service", ("host", "x-amz-date"), "")
    request = sigv4.Request("GET", "/", "", [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")])
    one = one._replace(signature="5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
    at_s = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC).timestamp()
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    sigv4.check(one, request, hashlib.sha256(b"").hexdigest(), secret, at_s)


def test_anything_that_differs_from_what_was_signed_is_refused() -> None:
    """Method, path, query, a signed header, the body, the secret, region and service."""
    one, request, digest = signed()
    other = hashlib.sha256(b'{"n": 2}').hexdigest()
    changes: list[tuple[sigv4.Signed, sigv4.Request, str]] = [
        (one, request._replace(method="PUT"), digest),
        (one, request._replace(path=request.path.replace("a%3Ab", "a%3Ac")), digest),
        (one, request._replace(query="Qualifier=2&A=x%20y"), digest),
        (one, request._replace(query=request.query + "&B=1"), digest),
        (one, request._replace(headers=[(n, "None" if n == "x-amz-log-type" else v) for n, v in request.headers]), digest),
        (one, request, other),
        (one._replace(region="us-east-1"), request, digest),
        (one._replace(service="kms"), request, digest),
        (one._replace(signature="0" * 64), request, digest),
    ]  # fmt: skip
    for change in changes:
        assert "does not match" in refused(change)
    assert "does not match" in refused((one, request, digest), secret="another secret")


def test_a_signature_is_good_for_five_minutes() -> None:
    """Not after them, not long before, and for the day that it names."""
    request = signed()
    for at_s in (-300.0, 0.0, 300.0):
        sigv4.check(*request, SECRET, NOW.timestamp() + at_s)
    for at_s in (-301.0, 301.0, 86_400.0):
        assert "more than 300 s" in refused(request, at_s=at_s)
    assert "another day" in refused((request[0]._replace(date="20141112"), *request[1:]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"headers": [("x-amz-extra", "1")]}, "x-amz-extra must be signed"),
        ({"drop": "host"}, "host is not in the request"),
        ({"drop": "x-amz-date"}, "x-amz-date is not in the request"),
        ({"headers": [("x-amz-date", "20141113T170001Z")]}, "one X-Amz-Date"),
        ({"path": "/2015-03-31/../x"}, "normal form"),
        ({"path": "/2015-03-31//x"}, "normal form"),
        ({"signed": ("host",)}, "must be signed"),
        ({"signed": ("x-amz-date", "host")}, "sorted"),
    ],
)
def test_what_must_be_covered_is_covered(change: dict[str, Any], why: str) -> None:
    """The host, the time, and every x-amz-* header; nothing may be added behind the signature."""
    one, request, digest = signed()
    headers = [*(each for each in request.headers if each[0] != change.get("drop")), *change.get("headers", [])]
    request = request._replace(headers=headers, path=change.get("path", request.path))
    assert why in refused((one._replace(headers=change.get("signed", one.headers)), request, digest))


def test_the_hash_that_a_header_claims_must_be_the_bodys() -> None:
    """Also where it was signed: UNSIGNED-PAYLOAD is not taken."""
    claimed = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert "is not that of the body" in refused(claimed)


@given(st.text(max_size=200))
def test_a_header_of_any_text_is_read_or_refused(text: str) -> None:
    """No other error comes out of it."""
    with pytest.raises(sigv4.SignatureError, match="expected `AWS4-HMAC-SHA256 Credential="):
        sigv4.parse(f"AWS4-HMAC-SHA256 {text}")


async def test_the_gateway_takes_a_signature_with_the_bootstrap_credential_and_no_other(gateway: Running) -> None:
    """On every route as the bearer token is; the body arrives whole, and one that was changed does not."""
    token = credentials.token(gateway.process.data_dir / "credentials" / "bootstrap.token")

    async def call(
        body: bytes = b"", *, access_key: str = "bootstrap", secret: str = token, sent: bytes | None = None
    ) -> httpx.Response:
        request = AWSRequest(
            "POST", f"{gateway.url}/events/nothing", data=body, headers={"Content-Type": "application/json"}
        )
        SigV4Auth(Credentials(access_key, secret), "events", "local").add_auth(request)
        content = body if sent is None else sent
        return await gateway.stranger.post("/events/nothing", content=content, headers=dict(request.headers.items()))

    assert (await call(BODY)).status_code == 404
    for answer in (
        await call(BODY, secret="wrong"),
        await call(BODY, access_key="operator"),
        await call(BODY, sent=b'{"n": 2}'),
    ):
        assert answer.status_code == 403
        assert answer.headers["x-amzn-errortype"] in ("InvalidSignatureException", "UnrecognizedClientException")
        assert token not in answer.text
    assert (await call(b"x" * (9 * 1024 * 1024))).status_code == 413


async def test_bodies_whose_signatures_are_not_checked_yet_share_a_budget(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger cannot have the gateway hold more than that, and what was refused gives its room back."""
    monkeypatch.setattr(signing, "HELD_BYTES_MAX", 1000)
    token = credentials.token(gateway.process.data_dir / "credentials" / "bootstrap.token")
    statuses = []
    for size in (1001, 1000, 1001, 1000):
        body = b"x" * size
        request = AWSRequest("POST", f"{gateway.url}/events/nothing", data=body, headers={"Content-Type": "text/plain"})
        SigV4Auth(Credentials("bootstrap", token), "events", "local").add_auth(request)
        answer = await gateway.stranger.post("/events/nothing", content=body, headers=dict(request.headers.items()))
        statuses.append(answer.status_code)
    assert statuses == [503, 404, 503, 404]
