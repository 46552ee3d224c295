"""A file of encrypted chunks that shows itself as the file that it was: what a segment becomes when it is written anew.

    magic "S6CHUNKS" | frame 0: in clear, what the file is, its envelope | frame n: chunk n, encrypted

A chunk is bound to its file, its place and the whole size. Its frame has a CRC outside, so that damage is found without
a key. Places stay as they were, so whatever points into the file (index, checkpoints) stays right.
"""

from __future__ import annotations

import errno

import msgspec

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import frames
from sixfold_functions.volume.encryption import envelope
from sixfold_functions.volume.encryption.keyring import Keyring

MAGIC = b"S6CHUNKS"
CHUNK_BYTES = 65_536
"""Decrypted as a whole, in about 10 microseconds, for each frame that is read in it."""
_CHUNK = b"chunk"
_FRAME_BYTES = frames.HEAD_BYTES + frames.ENTRY_HEAD_BYTES + envelope.OVERHEAD_BYTES


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a segment's first entry says in clear."""

    format: int
    label: str
    segment: int
    envelope: envelope.Envelope | None = None
    """None for a segment in plain."""
    reencrypt: bool = False
    """When this segment was begun, older ones were to be written anew under its data key."""
    size: int = 0
    """Bytes that a file of chunks shows."""
    chunk: int = 0
    """Bytes of each chunk but the last."""


def name_of(label: str, segment: int) -> str:
    """What the key of a segment's file is bound to."""
    return f"segment {segment} of {label}"


def about_of(frame: frames.Frame | None) -> About | None:
    """What a first frame says; None where it is none."""
    if frame is None or not frame.entries or frame.entries[0].kind is not frames.Kind.SEGMENT:
        return None
    try:
        return msgspec.json.decode(frame.entries[0].data, type=About)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def first_frame(file: disks.File) -> frames.Frame | None:
    """The first frame of a segment's file, of chunks or not; None where it is not whole."""
    start = len(MAGIC) if is_chunked(file) else 0
    length = frames.length_at(file.read_at(start, frames.HEAD_BYTES))
    return frames.decode(file.read_at(start, length)) if length else None


def is_chunked(file: disks.File) -> bool:
    """Whether a file, as it lies on the disk, is of chunks."""
    return file.read_at(0, len(MAGIC)) == MAGIC


def opened(file: disks.File, segment: int, label: str, keyring: Keyring) -> disks.File:
    """`file` itself, or what it shows if it is of chunks. Raises KeyMissingError, KeyWrongError."""
    if not is_chunked(file):
        return file
    head = first_frame(file)
    about = about_of(head)
    if head is None or about is None or about.envelope is None or about.chunk <= 0:
        return _Nothing(file)
    cipher = keyring.open(about.envelope, name_of(label, segment))
    return ChunkedFile(file, cipher, len(MAGIC) + head.size, about.size, about.chunk)


class Writer:
    """Writes a new file of chunks from the bytes that it is to show."""

    def __init__(self, file: disks.File, segment: int, label: str, keyring: Keyring, size: int, chunk: int) -> None:
        begun = keyring.begin(name_of(label, segment))
        assert begun is not None, "there is a data key to write under"
        made, self._cipher = begun
        about = About(format=3, label=label, segment=segment, envelope=made, size=size, chunk=chunk)
        entry = frames.Entry(frames.Kind.SEGMENT, -1, msgspec.json.encode(about))
        self._file = file
        self._size = size
        self._number = 0
        self._chunk = chunk
        file.append(MAGIC + frames.encode(0, [entry]))

    def add(self, chunk: bytes) -> None:
        """The next bytes: a whole chunk, or what is left."""
        self._file.append(_encoded(self._cipher, self._number, self._number * self._chunk, self._size, chunk))
        self._number += 1


class ChunkedFile:
    """What the file shows. A damaged chunk reads as zeros, so that damage is found where all damage is: in frames."""

    def __init__(self, file: disks.File, cipher: envelope.FileCipher, start: int, size: int, chunk: int) -> None:
        self._file = file
        self._cipher = cipher
        self._start = start
        self._size = size
        self._chunk = chunk
        self._last: tuple[int, bytes] = -1, b""
        """The chunk that was read last: a reader goes through its frames one by one."""

    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        end = min(position + size, self._size)
        parts = []
        while position < end:
            number, offset = divmod(position, self._chunk)
            part = self._read(number)[offset : offset + end - position]
            parts.append(part)
            position += len(part)
        return b"".join(parts)

    def chunk(self, number: int) -> bytes | None:
        """A chunk as it was written; None where it is damaged, or was changed."""
        size = self._length(number)
        frame = frames.decode(self._file.read_at(self._place(number), _FRAME_BYTES + size))
        if frame is None or frame.sequence != number + 1 or frame.entries[0].kind is not frames.Kind.ENCRYPTED:
            return None
        return self._cipher.open(_CHUNK, number * self._chunk, number, self._size, frame.entries[0].data)

    def opens(self, position: int, size: int) -> bool:
        """Whether no chunk of these bytes is damaged, or was changed."""
        first, last = position // self._chunk, (min(position + size, self._size) - 1) // self._chunk
        return all(self.chunk(number) is not None for number in range(first, last + 1))

    def write_at(self, position: int, data: bytes) -> None:
        """Mend what lies there: each chunk that it touches is encrypted anew, under a nonce of its own."""
        if position + len(data) > self._size:
            raise OSError(errno.EROFS, "a file of chunks does not grow")
        while data:
            number, offset = divmod(position, self._chunk)
            old = self._read(number)
            part, data = data[: len(old) - offset], data[len(old) - offset :]
            new = old[:offset] + part + old[offset + len(part) :]
            encoded = _encoded(self._cipher, number, number * self._chunk, self._size, new)
            self._file.write_at(self._place(number), encoded)
            self._last = number, new
            position += len(part)

    def append(self, data: bytes) -> None:
        raise OSError(errno.EROFS, "a file of chunks is written once")

    def truncate(self, size: int) -> None:
        raise OSError(errno.EROFS, "a file of chunks is written once")

    def fdatasync(self) -> None:
        self._file.fdatasync()

    def close(self) -> None:
        self._file.close()

    def _read(self, number: int) -> bytes:
        if self._last[0] != number:
            found = self.chunk(number)
            self._last = number, bytes(self._length(number)) if found is None else found
        return self._last[1]

    def _length(self, number: int) -> int:
        return min(self._chunk, self._size - number * self._chunk)

    def _place(self, number: int) -> int:
        return self._start + number * (_FRAME_BYTES + self._chunk)


class _Nothing:
    """A file of chunks whose beginning is damaged: it has its size and no valid frame."""

    def __init__(self, file: disks.File) -> None:
        self._file = file

    def size(self) -> int:
        return self._file.size()

    def read_at(self, position: int, size: int) -> bytes:
        return bytes(max(min(size, self.size() - position), 0))

    def append(self, data: bytes) -> None:
        raise OSError(errno.EROFS, "its beginning is damaged")

    def write_at(self, position: int, data: bytes) -> None:
        raise OSError(errno.EROFS, "its beginning is damaged")

    def truncate(self, size: int) -> None:
        raise OSError(errno.EROFS, "its beginning is damaged")

    def fdatasync(self) -> None:
        self._file.fdatasync()

    def close(self) -> None:
        self._file.close()


def _encoded(cipher: envelope.FileCipher, number: int, position: int, size: int, chunk: bytes) -> bytes:
    data = cipher.seal(_CHUNK, position, number, size, chunk)
    return frames.encode(number + 1, [frames.Entry(frames.Kind.ENCRYPTED, -1, data)])
