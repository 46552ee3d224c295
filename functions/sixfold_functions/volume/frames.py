"""Frames of a segment log: one frame for each fsync, holding what one batch of consumed records left behind.

    magic "S6FR" | body length u32 | CRC-32 u32 of sequence and body | sequence u64 | body
    body: entries, each   kind u8 | bus offset i64 | length u32 | bytes

One frame per fsync means that a frame is either wholly kept or lies behind the last fsync: an invalid frame at the
very end is a torn write, an invalid frame with a valid one after it is damage.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

MAGIC = b"S6FR"
_HEAD = struct.Struct(">4sIIQ")
_ENTRY = struct.Struct(">BqI")
HEAD_BYTES = _HEAD.size
ENTRY_HEAD_BYTES = _ENTRY.size
BODY_BYTES_MAX = 1 << 28
"""Sixteen times the largest group that a storage node writes at once; a longer length is damage."""


class Kind(enum.IntEnum):
    """What an entry is."""

    SEGMENT = 1
    """JSON about the file; the first entry of each segment."""
    STARTED = 2
    """The copy's process started once more: its incarnation, 8 bytes."""
    POSITION = 3
    """Nothing but the bus offset: all before it was read."""
    BATCH = 4
    BUMP = 5
    TRUNCATION = 6
    ADMISSION = 7
    JOINING = 8
    """The copy found no log, and its partition does not begin with the first record any more."""
    CHECKPOINT = 9
    """All that was known where its segment begins, so that no earlier one needs to be read back."""
    SEALED = 10
    """The segment's last frame, with its own position: nothing is missing before it."""
    ENCRYPTED = 11
    """The frame's entries, encrypted (`encryption/envelope.py`); only SEGMENT and SEALED stand beside it in clear."""
    PADDING = 12
    """Nothing: it takes the room that encryption took, so that a frame written anew lies where it lay."""
    MENDED = 13
    """A batch that another copy gave in place of one that was damaged here; zeros may follow it."""
    LOST = 14
    """What stood here was damaged and is not known any more: nothing that a reader needs. Zeros."""
    RESTORED = 15
    """The volume begins with the past of another one."""
    MEMBERSHIP = 16


_KINDS = {kind.value: kind for kind in Kind}
"""A start looks an entry's kind up for each record that it reads back; `Kind(…)` takes several times as long."""


class Entry(NamedTuple):
    """One thing to keep."""

    kind: Kind
    offset: int
    """Its offset in the copy's partition; the next offset to read for POSITION."""
    data: bytes


class Frame(NamedTuple):
    """A decoded frame."""

    sequence: int
    entries: list[Entry]
    size: int
    """Bytes in the file, head included."""


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """`entries` as a frame's body."""
    return b"".join(_parts(entries))


def _parts(entries: Iterable[Entry]) -> list[bytes]:
    parts = []
    for kind, offset, data in entries:
        parts.append(_ENTRY.pack(kind, offset, len(data)))
        parts.append(data)
    return parts


def decode_entries(body: bytes) -> list[Entry]:
    """What `encode_entries` encoded."""
    entries, position, end, unpack = [], 0, len(body), _ENTRY.unpack_from
    while position < end:
        kind, offset, size = unpack(body, position)
        position += ENTRY_HEAD_BYTES
        entries.append(Entry(_KINDS[kind], offset, body[position : position + size]))
        position += size
    return entries


def encode(sequence: int, entries: Iterable[Entry]) -> bytes:
    """`entries` as a frame."""
    parts = _parts(entries)  # joined once, with the head: a frame may have megabytes
    check = zlib.crc32(sequence.to_bytes(8, "big"))
    for part in parts:
        check = zlib.crc32(part, check)
    return b"".join((_HEAD.pack(MAGIC, sum(map(len, parts)), check, sequence), *parts))


def decode(data: bytes, start: int = 0) -> Frame | None:
    """The frame at `start`; None where there is no whole and valid one."""
    if len(data) < start + HEAD_BYTES:
        return None
    magic, length, check, sequence = _HEAD.unpack_from(data, start)
    body = data[start + HEAD_BYTES : start + HEAD_BYTES + length]
    if magic != MAGIC or not 0 < length <= BODY_BYTES_MAX or len(body) < length:
        return None
    if zlib.crc32(body, zlib.crc32(sequence.to_bytes(8, "big"))) != check:
        return None
    return Frame(sequence, decode_entries(body), HEAD_BYTES + length)


def length_at(head: bytes) -> int:
    """Bytes of the frame whose head is given, head included; 0 where it is none."""
    if len(head) < HEAD_BYTES:
        return 0
    magic, length, _, _ = _HEAD.unpack(head)
    return HEAD_BYTES + int(length) if magic == MAGIC and length <= BODY_BYTES_MAX else 0


def valid_after(data: bytes, start: int) -> int | None:
    """Position of the first valid frame beyond `start`, None where none is."""
    position = data.find(MAGIC, start + 1)
    while position >= 0:
        if decode(data, position) is not None:
            return position
        position = data.find(MAGIC, position + 1)
    return None


def seal(position: int) -> Entry:
    """The entry of the last frame of a full segment, which lies at `position`."""
    return Entry(Kind.SEALED, -1, position.to_bytes(8, "big"))


SEAL_BYTES = len(encode(0, [seal(0)]))
