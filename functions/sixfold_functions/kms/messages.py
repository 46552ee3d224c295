"""What is signed and sealed between a session and the key service: requests, answers, data keys in transit.

Whoever reads the log learns nothing: the plaintext goes to a key pair that the caller made for this one request.
Whoever writes to the log gains nothing: a request is signed over every field, so a changed recipient is refused, and
an answer is proved under the session's secret, so a caller never takes a data key from anybody else.

Source: RFC 9180 (HPKE, base mode).
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from sixfold_events.kms import KeyAnswered, KeyRequested
from sixfold_functions.kms import encoding

RECIPIENT_BYTES = 32

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_REQUEST, _ANSWER, _TRANSIT = b"sixfold kms request v1", b"sixfold kms answer v1", b"sixfold kms transit v1"


class InvalidAnswerError(ValueError):
    """An answer does not prove that the key service made it for this request."""


def digest(request: KeyRequested) -> bytes:
    """SHA-256 of everything that a request says, but for its signature."""
    return hashlib.sha256(
        encoding.record(
            _REQUEST,
            (
                request.request_id,
                request.lane,
                request.operation,
                request.key_id,
                encoding.context(request.encryption_context),
                request.number_of_bytes,
                request.ciphertext_blob,
                request.alias,
                request.description,
                request.recipient,
                request.access_key_id,
                request.session_token,
                request.signed_at_ms,
                request.region,
                request.parameters,
            ),
        )
    ).digest()


def sign(secret: str, request: KeyRequested) -> bytes:
    """The signature of a request by the session that has `secret`."""
    return hmac.digest(_key(secret, _REQUEST), digest(request), "sha256")


def is_signed(secret: str, request: KeyRequested) -> bool:
    """Whether the request carries its session's signature; compared in constant time."""
    try:
        return hmac.compare_digest(sign(secret, request), request.signature)
    except encoding.InvalidContextError:
        return False


def prove(secret: str, request: KeyRequested, answer: KeyAnswered) -> bytes:
    """The proof of an answer to `request`."""
    body = encoding.record(
        _ANSWER,
        (
            digest(request),
            answer.request_id,
            answer.operation,
            answer.answered_at_ms,
            answer.key_id,
            answer.ciphertext_blob,
            answer.sealed_plaintext,
            answer.error_code,
            answer.error_message,
            answer.result,
        ),
    )
    return hmac.digest(_key(secret, _ANSWER), body, "sha256")


def proven(secret: str, request: KeyRequested, answer: KeyAnswered) -> KeyAnswered:
    """`answer` with its proof."""
    return msgspec.structs.replace(answer, proof=prove(secret, request, answer))


def check(secret: str, request: KeyRequested, answer: KeyAnswered) -> None:
    """Raises InvalidAnswerError where the key service did not make `answer` for `request`."""
    if not hmac.compare_digest(prove(secret, request, answer), answer.proof):
        raise InvalidAnswerError(
            f"the answer to request {request.request_id} has no valid proof; somebody else wrote it to kms.results"
        )


def seal(plaintext: bytes, request: KeyRequested) -> bytes:
    """`plaintext` for the recipient of `request`, bound to the whole of it. Raises ValueError on a bad recipient."""
    recipient = X25519PublicKey.from_public_bytes(request.recipient)
    return _SUITE.encrypt(plaintext, recipient, info=_TRANSIT + digest(request))


def unseal(sealed: bytes, recipient: X25519PrivateKey, request: KeyRequested) -> bytes:
    """What `seal` sealed. Raises InvalidAnswerError."""
    try:
        return _SUITE.decrypt(sealed, recipient, info=_TRANSIT + digest(request))
    except (InvalidTag, ValueError) as error:
        raise InvalidAnswerError(f"the key in the answer to request {request.request_id} cannot be opened") from error


def _key(secret: str, purpose: bytes) -> bytes:
    return hmac.digest(secret.encode(), b"sixfold derived key\0" + purpose, "sha256")
