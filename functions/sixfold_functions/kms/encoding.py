"""Injective encodings: two different things never have the same bytes, so a signature or a tag binds exactly one.

The encryption context has the AWS Encryption SDK's own form (u16 count, then u16-length-prefixed keys and values in
the order of the keys' UTF-8 bytes). Records are a label and length-prefixed fields in a fixed order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

PAIRS_MAX = 50
CONTEXT_BYTES_MAX = 8192
"""As AWS KMS's limit of an encryption context."""


class InvalidContextError(ValueError):
    """An encryption context cannot be encoded; the message says what was expected and what was found."""


def context(pairs: Mapping[str, str]) -> bytes:
    """The canonical bytes of an encryption context. Raises InvalidContextError where it exceeds the limits."""
    if len(pairs) > PAIRS_MAX:
        raise InvalidContextError(f"the encryption context has {len(pairs)} pairs, expected at most {PAIRS_MAX}")
    try:
        encoded = sorted((key.encode(), value.encode()) for key, value in pairs.items())
    except UnicodeEncodeError as error:
        raise InvalidContextError("the encryption context is not Unicode text") from error
    if any(not key for key, _ in encoded):
        raise InvalidContextError("the encryption context has an empty key")
    if sum(len(key) + len(value) + 4 for key, value in encoded) > CONTEXT_BYTES_MAX:
        raise InvalidContextError(f"the encryption context is larger than {CONTEXT_BYTES_MAX} bytes")
    parts = [struct.pack(">H", len(encoded))]
    for pair in encoded:
        for text in pair:
            parts += (struct.pack(">H", len(text)), text)
    return b"".join(parts)


def record(label: bytes, fields: Iterable[bytes | str | int]) -> bytes:
    """A label and fields in a fixed order, each with its length in front."""
    parts = [struct.pack(">I", len(label)), label]
    for field in fields:
        data = _bytes(field)
        parts += (struct.pack(">I", len(data)), data)
    return b"".join(parts)


def _bytes(field: bytes | str | int) -> bytes:
    if isinstance(field, bytes):
        return field
    return field.encode() if isinstance(field, str) else b"%d" % field
