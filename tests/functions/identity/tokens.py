"""Issuers and tokens for tests: real keys, real signatures."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sixfold_functions.identity import jwks, token

NOW_S = 1_790_000_000
URL = "https://login.example.com"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class TestIssuer:
    """An issuer that signs whatever it is told to, without any library's opinion."""

    __test__ = False
    algorithm: str = "ES256"
    url: str = URL
    key_id: str = "k1"
    key: Any = field(init=False)

    def __post_init__(self) -> None:
        makers: dict[str, Any] = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.key = makers[self.algorithm]()

    def jwk(self) -> dict[str, Any]:
        public = self.key.public_key()
        head: dict[str, Any] = {"kid": self.key_id, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "RS256":
            numbers = public.public_numbers()
            return head | {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        if self.algorithm == "ES256":
            numbers = public.public_numbers()
            x, y = (b64(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
            return head | {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        return head | {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}

    def jwks(self) -> str:
        return json.dumps({"keys": [self.jwk()]})

    def registered(self, *audiences: str) -> dict[str, token.Issuer]:
        return {self.url: token.Issuer(self.url, audiences or ("sixfold",), jwks.parse(self.jwks()))}

    def sign(self, data: bytes) -> bytes:
        if self.algorithm == "RS256":
            return bytes(self.key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return bytes(self.key.sign(data))

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token; claims given as None are left out."""
        head = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"} | (header or {})
        body = {"iss": self.url, "sub": "alice", "aud": "sixfold", "iat": NOW_S, "exp": NOW_S + 600} | claims
        parts = [
            b64(json.dumps({name: value for name, value in part.items() if value is not None}).encode())
            for part in (head, body)
        ]
        return ".".join([*parts, b64(self.sign(".".join(parts).encode()))])
