"""Dropping old batches: those of topics with retention, and all of deleted topics'."""

from __future__ import annotations

from sixfold.bus import port
from sixfold.bus.embedded import store as store_

PARTITIONS_PER_STEP = 20
"""Looked after in one transaction."""
BATCHES_PER_STEP = 200
"""Deleting this many takes some milliseconds; commits wait no longer."""


def due(log: store_.Log, spec: port.TopicSpec, store: store_.Store, now_ms: int) -> bool:
    """True where the oldest batch may go. Looks into the file only once per oldest batch."""
    if log.start == log.end or spec.cleanup is not port.Cleanup.DELETE:
        return False
    if log.head is None:
        log.head = _head(log, store)
    return log.head is not None and _goes(log.head, log, spec, now_ms)


def _goes(head: store_.Head, log: store_.Log, spec: port.TopicSpec, now_ms: int) -> bool:
    if spec.retention_ms is not None and head.timestamp_max < now_ms - spec.retention_ms:
        return True
    # As Kafka does: drop the oldest only where at least `retention_bytes` stay.
    return spec.retention_bytes is not None and log.bytes_total - head.bytes_total >= spec.retention_bytes


def _head(log: store_.Log, store: store_.Store) -> store_.Head | None:
    return next(store.heads(log.id, log.start), None)


def expire(log: store_.Log, spec: port.TopicSpec, store: store_.Store, now_ms: int) -> bool:
    """Drop what is too old or too much, one step of it; true where more may be due. Inside a transaction."""
    start = log.start
    for count, head in enumerate(store.heads(log.id, log.start)):
        if count == BATCHES_PER_STEP or not _goes(head, log, spec, now_ms):
            break
        start = head.last_offset + 1
    if start == log.start:
        return False
    store.truncate(log.id, start)
    return due(store.logs[log.id], spec, store, now_ms)


def sweep(store: store_.Store) -> bool:
    """Drop batches of deleted topics, one step of it; true where more is left. Inside a transaction."""
    partition = store.execute("SELECT partition FROM trash LIMIT 1").get
    if partition is None:
        return False
    first, last = store_.bounds(int(partition))
    store.execute(
        "DELETE FROM batches WHERE position IN"
        " (SELECT position FROM batches WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?)",
        (first, last, BATCHES_PER_STEP),
    )
    if not store.connection.changes():
        store.execute("DELETE FROM trash WHERE partition = ?", (partition,))
    return True
