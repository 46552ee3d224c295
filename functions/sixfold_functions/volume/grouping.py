"""Records of a copy's partition in groups, each of which becomes one frame of its log, with one fsync."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sixfold.bus import port

GROUP_BYTES_MAX = 8 * 1024 * 1024
"""Records that share one frame and one fsync; what one write can lose is bounded by it."""


def grouped(records: Sequence[port.Record]) -> Iterator[list[port.Record]]:
    """`records` in order, in groups that end as soon as they have that many bytes."""
    group: list[port.Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += len(record.value or b"")
        if size >= GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group
