"""Ciphertext blobs, version 1: what a key encrypts, bound to its encryption context, its key and its key version.

    version u8 | suite u8 | key version id 16 B | N 16 B | commitment 16 B | iv 12 B | ciphertext | tag 16 B

Every blob has a key of its own, derived from the key version and the random N, so GCM's limit of 2^32 random nonces
per key is never near. The commitment ties the blob to one key: GCM alone can be opened under two. The additional
data are the header and the canonical encryption context. Format and vectors are frozen; a change is a new version.

Sources: NIST SP 800-108r1 (KBKDF, counter mode, HMAC-SHA256, 32-bit counter and length); SP 800-38D; AWS KMS
Cryptographic Details; Campagna and Gueron, "Key Management Systems at the Cloud Scale".
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sixfold_functions.kms import encoding

Entropy = Callable[[int], bytes]
"""A source of random bytes; `os.urandom` outside tests."""

VERSION = 1
SUITE_AES_256_GCM = 1
KEY_BYTES = 32
HEADER_BYTES = 2 + 16 + 16 + 16 + 12
TAG_BYTES = 16
BLOB_BYTES_MAX = 6144
"""As AWS KMS's limit of a ciphertext blob."""
PLAINTEXT_BYTES_MAX = 4096
"""As AWS KMS's limit of a plaintext."""

LABEL = b"sixfold kms blob v1"
_DERIVED_BYTES = 48


class InvalidBlobError(ValueError):
    """The blob is not one that this key made for this context. There is one message for every cause, on purpose."""

    def __init__(self) -> None:
        super().__init__("the ciphertext does not belong to this key and encryption context")


class Header(NamedTuple):
    """The cleartext part of a blob."""

    version_id: bytes
    number: bytes
    commitment: bytes
    iv: bytes

    def encode(self) -> bytes:
        return bytes((VERSION, SUITE_AES_256_GCM)) + self.version_id + self.number + self.commitment + self.iv


def parse(blob: bytes) -> tuple[Header, bytes]:
    """Header and sealed part of a blob; nothing of it is authenticated yet. Raises InvalidBlobError."""
    if not HEADER_BYTES + TAG_BYTES < len(blob) <= BLOB_BYTES_MAX:
        raise InvalidBlobError
    if blob[0] != VERSION or blob[1] != SUITE_AES_256_GCM:
        raise InvalidBlobError
    return Header(blob[2:18], blob[18:34], blob[34:50], blob[50:62]), blob[HEADER_BYTES:]


def derive(key: bytes, number: bytes) -> tuple[bytes, bytes]:
    """The key and the commitment that belong to one N: SP 800-108 in counter mode, two blocks of HMAC-SHA256."""
    fixed = LABEL + b"\0" + number + (8 * _DERIVED_BYTES).to_bytes(4, "big")
    first, second = (hmac.digest(key, counter.to_bytes(4, "big") + fixed, "sha256") for counter in (1, 2))
    return first, second[:16]


def seal(key: bytes, version_id: bytes, plaintext: bytes, context: Mapping[str, str], entropy: Entropy) -> bytes:
    """A blob of `plaintext` under the 32-byte `key`, whose id is `version_id` (16 bytes)."""
    if len(key) != KEY_BYTES or len(version_id) != 16:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes and an id of 16, found {len(key)} and {len(version_id)}")
    if not 0 < len(plaintext) <= PLAINTEXT_BYTES_MAX:
        raise ValueError(f"expected 1 to {PLAINTEXT_BYTES_MAX} bytes of plaintext, found {len(plaintext)}")
    number, iv = entropy(16), entropy(12)
    message_key, commitment = derive(key, number)
    header = Header(version_id, number, commitment, iv).encode()
    return header + AESGCM(message_key).encrypt(iv, plaintext, header + encoding.context(context))


def unseal(key: bytes, blob: bytes, context: Mapping[str, str]) -> bytes:
    """The plaintext of a blob. Raises InvalidBlobError where key, context or any bit of the blob is another."""
    header, sealed = parse(blob)
    message_key, commitment = derive(key, header.number)
    if not hmac.compare_digest(commitment, header.commitment):
        raise InvalidBlobError
    try:
        aad = blob[:HEADER_BYTES] + encoding.context(context)
        return AESGCM(message_key).decrypt(header.iv, sealed, aad)
    except (InvalidTag, encoding.InvalidContextError):
        raise InvalidBlobError from None
