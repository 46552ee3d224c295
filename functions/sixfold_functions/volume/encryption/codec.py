"""Bytes of any kind under a data key, such as an object of a backup; they open with nothing but the key service.

magic "S6OBJECT" | length u32 | envelope, JSON | salt 16 | counter u32 | ciphertext | tag 16
"""

from __future__ import annotations

import struct

import msgspec

from sixfold_functions.volume import files
from sixfold_functions.volume.encryption.envelope import OVERHEAD_BYTES, Envelope
from sixfold_functions.volume.encryption.keyring import Keyring

MAGIC = b"S6OBJECT"
_LENGTH = struct.Struct(">I")
_WHOLE = b"whole"
BYTES_MAX = 1 << 30
"""Of one object; AES-GCM takes 64 GiB, and it is in memory as a whole."""


def seal(keyring: Keyring, name: str, data: bytes) -> bytes:
    """`data` under the keyring's current data key, bound to `name`. Raises ValueError beyond BYTES_MAX, or without a key."""
    begun = keyring.begin(name)
    if begun is None or len(data) > BYTES_MAX:
        raise ValueError(f"{name}: expected a current data key and {BYTES_MAX} bytes at most, found {len(data)} bytes")
    envelope, cipher = begun
    head = msgspec.json.encode(envelope)
    return MAGIC + _LENGTH.pack(len(head)) + head + cipher.seal(_WHOLE, 0, 0, len(data), data)


def envelope_of(sealed: bytes) -> Envelope | None:
    """Which data key to ask for; None where these are not bytes that `seal` gave."""
    return _parts(sealed)[0]


def unseal(keyring: Keyring, name: str, sealed: bytes) -> bytes:
    """What was sealed under this name. Raises LogDamagedError, KeyMissingError, KeyWrongError."""
    envelope, body = _parts(sealed)
    if envelope is None:
        raise files.LogDamagedError(
            f"{name}: expected an encrypted object, found {sealed[: len(MAGIC)]!r} at its beginning"
        )
    size = len(body) - OVERHEAD_BYTES
    data = keyring.open(envelope, name).open(_WHOLE, 0, 0, max(size, 0), body)
    if data is None:
        raise files.LogDamagedError(
            f"{name} was changed, or cut, after it was encrypted; fetch it from where it is whole"
        )
    return data


def _parts(sealed: bytes) -> tuple[Envelope | None, bytes]:
    start = len(MAGIC) + _LENGTH.size
    if len(sealed) < start or not sealed.startswith(MAGIC):
        return None, b""
    (length,) = _LENGTH.unpack_from(sealed, len(MAGIC))
    try:
        return msgspec.json.decode(sealed[start : start + length], type=Envelope), sealed[start + length :]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, b""
