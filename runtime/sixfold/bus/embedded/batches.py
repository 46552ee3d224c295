"""Record batches: many records of one partition as one msgpack blob, encoded and decoded by the clients.

A payload is `[offsets, [[key, value, timestamp_ms, headers], …]]`. `offsets` is nil where they are contiguous from the
batch's base, as they are when appended; a compacted batch lists each record's distance from the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sixfold import errors
from sixfold.bus import port

Entry = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes]]]
"""key, value, timestamp_ms, headers"""

TIMESTAMP_MS_MAX = 1 << 62
"""What SQLite's integers hold, with room to add to it."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[int] | None, list[Entry]])
_CONTIGUOUS = b"\x92\xc0"


def encode_record(record: port.NewRecord, timestamp_ms: int) -> bytes:
    """One record as it lies in a batch. Raises UsageError for a record of wrong types, which no reader could decode."""
    key, value, headers = record.key, record.value, record.headers
    try:
        sound = (
            (value is None or type(value) is bytes)
            and (key is None or type(key) is bytes)
            and type(timestamp_ms) is int
            and 0 <= timestamp_ms <= TIMESTAMP_MS_MAX
        )
        for name, content in headers:
            if type(content) is not bytes or type(name) is not str:
                sound = False
        if sound:
            return _encoder.encode((key, value, timestamp_ms, headers))
    except (TypeError, ValueError):
        pass
    raise errors.UsageError(
        f"record for topic {record.topic!r}: expected key and value of bytes or None, headers of (str, bytes) pairs and "
        f"a timestamp in Unix milliseconds, found {type(key).__name__}, {type(value).__name__}, "
        f"{type(headers).__name__} and {timestamp_ms!r}"
    )


def payload(encoded: Sequence[bytes]) -> bytes:
    """A batch of `encode_record`'s results."""
    return b"".join((_CONTIGUOUS, b"\xdd", len(encoded).to_bytes(4, "big"), *encoded))


def compacted(distances: Sequence[int], entries: Sequence[Entry]) -> bytes:
    """A batch whose records lie `distances` from its base."""
    return _encoder.encode((distances, entries))


def entries(payload: bytes, base_offset: int) -> Iterable[tuple[int, Entry]]:
    """Each record of a batch with its offset."""
    distances, found = _decoder.decode(payload)
    if distances is None:
        return enumerate(found, base_offset)
    return zip((base_offset + distance for distance in distances), found, strict=True)


def records(payload: bytes, base_offset: int, partition: port.TopicPartition) -> list[port.Record]:
    """The records of a batch."""
    topic, number = partition
    return [
        port.Record(topic, number, offset, timestamp_ms, key, value, headers)
        for offset, (key, value, timestamp_ms, headers) in entries(payload, base_offset)
    ]
