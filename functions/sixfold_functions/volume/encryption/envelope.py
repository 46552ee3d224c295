"""From a data key to the bytes of a file: the envelope in a file's beginning, and the cipher of what follows.

    data key (the key service's; its ciphertext blob is in the envelope)
     └─ AES-256-GCM, random iv ── file key, 256 random bits, one a file
         └─ HMAC-SHA-256 of a random 128-bit salt ── session key, one for each opening of the file by a writer
             └─ AES-256-GCM, the nonce counts from 0 ── a frame, or a chunk

A torn frame is cut off and another one written in its place, with the same position and sequence: a nonce made of
those would encrypt two plaintexts under one key. So whoever writes takes a new salt, and counts under it.

Source: NIST SP 800-38D, 8.2.1 (deterministic construction of the nonce).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Entropy = Callable[[int], bytes]
"""A source of random bytes; `os.urandom` outside tests."""

KEY_BYTES = 32
SALT_BYTES = 16
IV_BYTES = 12
TAG_BYTES = 16
_COUNTER = struct.Struct(">I")
_BOUND = struct.Struct(">IQQ")
OVERHEAD_BYTES = SALT_BYTES + _COUNTER.size + TAG_BYTES
"""What encryption adds to a frame's entries or to a chunk."""
COUNTS_MAX = 1 << 32
"""Messages under one session key; then there is another one."""
SESSIONS_MAX = 64
"""Session keys in memory for each open file: the one that writes, and those that were read with last."""
_SESSION = b"sixfold volume session v1\0"
_FILE_KEY = b"sixfold volume file key v1\0"


@dataclass(frozen=True)
class DataKey:
    """A data key of the key service, open."""

    kms_key: str
    """ARN of the key that it was made under; empty where the key service was not asked for it yet."""
    blob: bytes
    """Its ciphertext: all that is kept of it."""
    plaintext: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """A short name, the same wherever the key is used."""
        return id_of(self.blob)


def id_of(blob: bytes) -> str:
    """The short name of the data key with this ciphertext."""
    return hashlib.sha256(blob).hexdigest()[:12]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in clear in an encrypted file's beginning; it opens with nothing but the key service."""

    kms_key: str
    data_key: bytes
    """The data key's ciphertext blob."""
    iv: bytes
    file_key: bytes
    """Wrapped under the data key."""

    @property
    def data_key_id(self) -> str:
        return id_of(self.data_key)


def seal_file_key(data_key: DataKey, name: str, entropy: Entropy) -> tuple[Envelope, FileCipher]:
    """A new file key for the file `name`, in its envelope and ready to be used."""
    file_key, iv = entropy(KEY_BYTES), entropy(IV_BYTES)
    wrapped = AESGCM(data_key.plaintext).encrypt(iv, file_key, _of_file(data_key.kms_key, name))
    envelope = Envelope(kms_key=data_key.kms_key, data_key=data_key.blob, iv=iv, file_key=wrapped)
    return envelope, FileCipher(file_key, name, entropy)


def open_file_key(data_key: DataKey, envelope: Envelope, name: str, entropy: Entropy) -> FileCipher | None:
    """The cipher of the file `name`; None where the envelope is another file's, of another key, or was changed."""
    try:
        file_key = AESGCM(data_key.plaintext).decrypt(envelope.iv, envelope.file_key, _of_file(envelope.kms_key, name))
    except (InvalidTag, ValueError):
        return None
    return FileCipher(file_key, name, entropy)


def _of_file(kms_key: str, name: str) -> bytes:
    return _FILE_KEY + len(kms_key.encode()).to_bytes(4, "big") + kms_key.encode() + name.encode()


class FileCipher:
    """Encrypts and decrypts the parts of one file. What is bound to a part is not stored with it."""

    def __init__(self, file_key: bytes, name: str, entropy: Entropy) -> None:
        self._file_key = file_key
        self._name = name.encode()
        self._entropy = entropy
        self._sessions: dict[bytes, AESGCM] = {}
        self._salt = b""
        self._count = COUNTS_MAX

    def seal(self, purpose: bytes, position: int, number: int, size: int, plaintext: bytes) -> bytes:
        """`plaintext` for its place in the file: `salt 16 | counter u32 | ciphertext | tag 16`."""
        if self._count == COUNTS_MAX:
            self._salt, self._count = self._entropy(SALT_BYTES), 0
        counter = _COUNTER.pack(self._count)
        self._count += 1
        bound = self._bound(purpose, position, number, size)
        return self._salt + counter + self._session(self._salt).encrypt(_nonce(counter), plaintext, bound)

    def open(self, purpose: bytes, position: int, number: int, size: int, sealed: bytes) -> bytes | None:
        """What was sealed for this place in this file; None where it was not, or was changed since."""
        if len(sealed) < OVERHEAD_BYTES:
            return None
        salt, counter = sealed[:SALT_BYTES], sealed[SALT_BYTES : SALT_BYTES + _COUNTER.size]
        bound = self._bound(purpose, position, number, size)
        try:
            return self._session(salt).decrypt(_nonce(counter), sealed[SALT_BYTES + _COUNTER.size :], bound)
        except InvalidTag:
            return None

    def _bound(self, purpose: bytes, position: int, number: int, size: int) -> bytes:
        return purpose + _BOUND.pack(len(self._name), position, number) + size.to_bytes(8, "big") + self._name

    def _session(self, salt: bytes) -> AESGCM:
        session = self._sessions.pop(salt, None)
        if session is None:
            session = AESGCM(hmac.digest(self._file_key, _SESSION + salt, "sha256"))
        self._sessions[salt] = session  # the one used last is at the end
        if len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        return session


def _nonce(counter: bytes) -> bytes:
    return counter.rjust(IV_BYTES, b"\0")
