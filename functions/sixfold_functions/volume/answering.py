"""Answering reads from a copy's log: the records that a reader may see, or stored batches for recovery and repair.

An answer is one record of a topic, so it holds as much as fits and its reader asks on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeRangeTruncated,
    VolumeReadAnswered,
    VolumeReadRequested,
)
from sixfold_functions.volume import files

ANSWER_BYTES_MAX = 700_000
"""Encoded records of one answer; what is left of a topic's 1,000,000 is ample for headers and the copy's status."""


class Stored(NamedTuple):
    """A batch as it lies in a log."""

    first_lsn: int
    value: bytes
    """The encoded batch."""
    payloads: list[bytes]


def encoded_bytes(data: bytes) -> int:
    """Bytes that `data` takes in an answer: Avro writes its length as a zigzag number, seven bits a byte, before it."""
    return len(data) + max((2 * len(data)).bit_length() + 6, 7) // 7


def answer(
    request: VolumeReadRequested, status: VolumeCopyAcknowledged, batches: Iterator[Stored], last_lsn: int
) -> VolumeReadAnswered:
    """What fits of `batches`, whose records reach from the one asked for up to `last_lsn`; an error if they are damaged.

    The first batch always goes in: no batch is larger than a redo record, and that has the same limit as an answer.
    """
    found = VolumeReadAnswered(
        volume=request.volume,
        copy=status.copy,
        request_id=request.request_id,
        status=status,
        first_lsn=max(request.from_lsn, 1),
    )
    payloads: list[bytes] = []
    values: list[bytes] = []
    size = 0
    try:
        for stored in batches:
            skip = max(found.first_lsn - stored.first_lsn, 0)
            records = stored.payloads[skip : last_lsn - stored.first_lsn + 1]
            step = encoded_bytes(stored.value) if request.whole_batches else sum(map(encoded_bytes, records))
            if size and size + step > ANSWER_BYTES_MAX:
                break
            size += step
            if request.whole_batches:
                values.append(stored.value)
            else:
                payloads.extend(records)
    except files.LogDamagedError as damage:
        return refused(found, str(damage))
    return msgspec.structs.replace(found, payloads=payloads, batches=values)


def with_beginning(found: VolumeReadAnswered, beginning: VolumeRangeTruncated | None) -> VolumeReadAnswered:
    """`found`, and where the volume of the copy's epoch began."""
    if beginning is None:
        return found
    return msgspec.structs.replace(
        found,
        began_lsn=beginning.durable_lsn,
        began_source_epoch=beginning.source_epoch,
        began_upper_lsn=beginning.upper_lsn,
    )


def refused(found: VolumeReadAnswered, error: str) -> VolumeReadAnswered:
    """`found` without its records, with `error` in their place."""
    return msgspec.structs.replace(found, payloads=[], batches=[], error=error)
