"""Answering reads from a copy's log: the records that a reader may see, or stored batches for recovery and repair.

An answer is one record of a topic, so it holds as much as fits and its reader asks on from there.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeRangeTruncated,
    VolumeReadAnswered,
    VolumeReadRequested,
    VolumeRedoBatch,
)
from sixfold_functions.volume import files

ANSWER_BYTES_MAX = 700_000
"""Encoded records of one answer; what is left of a topic's 1,000,000 is ample for headers and the copy's status."""


def encoded_bytes(data: bytes) -> int:
    """Bytes that `data` takes in an answer: Avro writes its length as a zigzag number, seven bits a byte, before it."""
    return len(data) + max((2 * len(data)).bit_length() + 6, 7) // 7


def answer(
    request: VolumeReadRequested,
    status: VolumeCopyAcknowledged,
    values: Iterator[bytes],
    batches: Iterator[VolumeRedoBatch],
    last_lsn: int,
) -> VolumeReadAnswered:
    """What fits of the records from the one asked for up to `last_lsn`; an error if they are damaged.

    `values` are the batches as they are stored, which whole batches are answered from, `batches` the same decoded. The
    first batch always goes in: no batch is larger than a redo record, and that has the same limit as an answer.
    """
    found = VolumeReadAnswered(
        volume=request.volume,
        copy=status.copy,
        request_id=request.request_id,
        status=status,
        first_lsn=max(request.from_lsn, 1),
    )
    parts = ([value] for value in values) if request.whole_batches else _records(batches, found.first_lsn, last_lsn)
    fitting: list[bytes] = []
    size = 0
    try:
        for part in parts:
            step = sum(map(encoded_bytes, part))
            if size and size + step > ANSWER_BYTES_MAX:
                break
            size += step
            fitting += part
    except files.LogDamagedError as damage:
        return refused(found, str(damage))
    if request.whole_batches:
        return msgspec.structs.replace(found, batches=fitting)
    return msgspec.structs.replace(found, payloads=fitting)


def _records(batches: Iterator[VolumeRedoBatch], first_lsn: int, last_lsn: int) -> Iterator[list[bytes]]:
    for batch in batches:
        yield batch.payloads[max(first_lsn - batch.first_lsn, 0) : last_lsn - batch.first_lsn + 1]


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
