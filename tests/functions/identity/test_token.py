"""Web identity tokens: only well-formed, fresh tokens that a registered issuer signed for us are believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.identity.tokens import NOW_S, URL, TestIssuer, b64

from sixfold_functions.identity import jwks, token
from sixfold_functions.identity.refusal import Refusal

ES256 = TestIssuer("ES256")


def joined(*segments: bytes) -> str:
    return ".".join(b64(segment) for segment in segments)


def refused(text: str, issuer: TestIssuer = ES256, now_s: float = NOW_S) -> str:
    with pytest.raises(Refusal) as caught:
        token.verify(text, issuer.registered(), now_s)
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_good_token_of_each_algorithm_proves_its_claims(algorithm: str) -> None:
    """Subject, audience and plain claims come out; claims of other shapes are left out."""
    issuer = TestIssuer(algorithm)
    text = issuer.token(team="risk", level=3, admin=True, groups=["a", "b"], nested={"x": 1})
    identity = token.verify(text, issuer.registered(), NOW_S)
    assert (identity.issuer, identity.subject, identity.audience) == (URL, "alice", "sixfold")
    assert identity.claims == {
        "sub": ("alice",),
        "team": ("risk",),
        "level": ("3",),
        "admin": ("true",),
        "groups": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("header", "claims", "code"),
    [
        ({"crit": ["exp"]}, {}, "InvalidIdentityToken"),
        ({"jku": "https://evil.example.com"}, {}, "InvalidIdentityToken"),
        ({"jwk": ES256.jwk()}, {}, "InvalidIdentityToken"),
        ({"x5u": "https://evil.example.com"}, {}, "InvalidIdentityToken"),
        ({"x5c": []}, {}, "InvalidIdentityToken"),
        ({"zip": "DEF"}, {}, "InvalidIdentityToken"),
        ({"alg": "none"}, {}, "InvalidIdentityToken"),
        ({"alg": "HS256"}, {}, "InvalidIdentityToken"),
        ({"alg": "RS256"}, {}, "InvalidIdentityToken"),
        ({"alg": None}, {}, "InvalidIdentityToken"),
        ({"kid": "other"}, {}, "InvalidIdentityToken"),
        ({"kid": 7}, {}, "InvalidIdentityToken"),
        ({}, {"iss": "https://login.example.com/"}, "InvalidIdentityToken"),
        ({}, {"iss": None}, "InvalidIdentityToken"),
        ({}, {"aud": "other"}, "InvalidIdentityToken"),
        ({}, {"aud": None}, "InvalidIdentityToken"),
        ({}, {"aud": [["sixfold"]]}, "InvalidIdentityToken"),
        ({}, {"sub": None}, "InvalidIdentityToken"),
        ({}, {"sub": ""}, "InvalidIdentityToken"),
        ({}, {"sub": 5}, "InvalidIdentityToken"),
        ({}, {"exp": None}, "InvalidIdentityToken"),
        ({}, {"exp": "soon"}, "InvalidIdentityToken"),
        ({}, {"exp": True}, "InvalidIdentityToken"),
        ({}, {"iat": None}, "InvalidIdentityToken"),
        ({}, {"iat": NOW_S + 61}, "InvalidIdentityToken"),
        ({}, {"nbf": NOW_S + 61}, "InvalidIdentityToken"),
        ({}, {"exp": NOW_S + 25 * 3600}, "InvalidIdentityToken"),
        ({}, {"iat": NOW_S - 600, "exp": NOW_S - 60}, "ExpiredTokenException"),
        ({}, {"exp": 10**400}, "InvalidIdentityToken"),
        ({}, {"exp": 1e300}, "InvalidIdentityToken"),
        ({}, {"iat": -(10**400)}, "InvalidIdentityToken"),
        ({}, {"nbf": 10**400}, "InvalidIdentityToken"),
        ({}, {"level": 10**400}, "InvalidIdentityToken"),
        ({}, {"nested": {"level": [10**400]}}, "InvalidIdentityToken"),
        ({"typ": 10**400}, {}, "InvalidIdentityToken"),
        ({}, {"Sub": "admin"}, "InvalidIdentityToken"),
        ({}, {"AUD": "sixfold"}, "InvalidIdentityToken"),
        ({}, {"team": "risk", "Team": "sales"}, "InvalidIdentityToken"),
        ({}, {"team": "\ud800"}, "InvalidIdentityToken"),
        ({}, {"iss": "\ud800"}, "InvalidIdentityToken"),
        ({}, {"team": "x" * 257}, "PackedPolicyTooLarge"),
        ({}, {f"claim{number}": "x" for number in range(51)}, "PackedPolicyTooLarge"),
    ],
)
def test_a_token_with_anything_wrong_is_refused(header: dict[str, Any], claims: dict[str, Any], code: str) -> None:
    """Correctly signed, and still refused: by its header, its issuer, its audience, its times, its size."""
    assert refused(ES256.token(header, **claims)) == code


def test_clocks_may_differ_by_a_minute_and_no_more() -> None:
    """The leeway is 60 s on each side."""
    issuers = ES256.registered()
    assert token.verify(ES256.token(iat=NOW_S - 600, exp=NOW_S - 59), issuers, NOW_S)
    assert token.verify(ES256.token(iat=NOW_S + 60, nbf=NOW_S + 60), issuers, NOW_S)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        ES256.token() + "=",
        ES256.token() + "\n",
        " " + ES256.token(),
        ES256.token().replace(".", ". ", 1),
        "x" * 20_001,
        joined(b"[]", b"{}", b"x"),
        joined(b"{", b"{}", b"x"),
        joined(b'{"alg": "ES256", "alg": "none"}', b"{}", b"x"),
        joined(b"[" * 5000, b"{}", b"x"),
        joined(b"{}", b'{"exp": 1e400}', b"x"),
        joined(b"{}", b'{"exp": Infinity}', b"x"),
        joined(b"{}", b'{"exp": ' + b"9" * 10_000 + b"}", b"x"),
    ],
)
def test_a_text_that_is_no_token_is_refused_before_any_cryptography(text: str) -> None:
    """Segments, padding, alphabet, size, JSON: one form only."""
    assert refused(text) == "InvalidIdentityToken"


def test_a_token_that_is_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    """Algorithm confusion: the key decides how a token is checked, never the token."""
    parts = ES256.token({"alg": "HS256"}).split(".")[:2]
    for secret in (ES256.jwks().encode(), json.dumps(ES256.jwk()).encode()):
        signature = hmac.digest(secret, ".".join(parts).encode(), hashlib.sha256)
        assert refused(".".join([*parts, b64(signature)])) == "InvalidIdentityToken"


def test_a_token_of_another_key_is_refused_though_its_kid_is_right() -> None:
    """The kid only names a key."""
    assert refused(TestIssuer("ES256").token()) == "InvalidIdentityToken"


GOOD = ES256.token(team="risk")


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(GOOD) - 1), char=st.sampled_from("ABCXYZabcxyz0189-_.="))
def test_a_token_with_one_changed_character_is_refused(place: int, char: str) -> None:
    """No character of a token can be another one, the last of the signature included."""
    changed = GOOD[:place] + char + GOOD[place + 1 :]
    if changed != GOOD:
        assert refused(changed) in ("InvalidIdentityToken", "ExpiredTokenException")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.builds(".".join, st.lists(st.binary(max_size=40).map(b64), min_size=3, max_size=3)))
def test_rubbish_is_refused_and_never_a_crash(text: str) -> None:
    """Whatever comes, the only error is a refusal."""
    assert refused(text) == "InvalidIdentityToken"


def key_set(**changes: Any) -> str:
    return json.dumps({"keys": [ES256.jwk() | changes]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": []}',
        key_set(d="AAAA"),
        key_set(kty="oct", k="AAAA"),
        key_set(crv="P-384"),
        key_set(alg="RS256"),
        key_set(x="AAAA"),
        key_set(use="enc"),
        json.dumps({"keys": [ES256.jwk(), ES256.jwk()]}),
        json.dumps({"keys": [ES256.jwk() | {"kid": None}, ES256.jwk()]}),
        json.dumps({"keys": [{"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB", "kid": "weak"}]}),
    ],
)
def test_a_key_set_with_private_weak_or_ambiguous_keys_is_not_registered(text: str) -> None:
    """Public signature keys of three kinds, each with a kid of its own, and nothing else."""
    with pytest.raises(jwks.MalformedKeySetError):
        jwks.parse(text)


def test_the_issuer_signs_as_the_library_does() -> None:
    """The tests' own issuer makes the same form as everybody's: its tokens are no special case."""
    head = json.loads(base64.urlsafe_b64decode(GOOD.split(".")[0] + "=="))
    assert head == {"alg": "ES256", "kid": "k1", "typ": "JWT"}
