"""HMAC keys: as long as AWS makes them, and their codes. Source: AWS KMS Developer Guide, "HMAC keys in AWS KMS"."""

from __future__ import annotations

import hmac


def key_bytes(spec: str) -> int:
    """Length of a key: that of its hash's output."""
    return int(spec.removeprefix("HMAC_")) // 8


def code(key: bytes, algorithm: str, message: bytes) -> bytes:
    """The HMAC of `message` by `HMAC_SHA_…`."""
    return hmac.digest(key, message, f"sha{algorithm.removeprefix('HMAC_SHA_')}")
