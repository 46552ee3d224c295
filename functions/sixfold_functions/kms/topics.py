"""Topics of the key management capability that need other than the default settings."""

from __future__ import annotations

from sixfold.bus.port import Cleanup, TopicSpec

REQUEST_PARTITIONS = 3
"""Each has its own chain of audit links and its own memory of answered requests."""
HOUR_MS = 3600 * 1000

topics = (
    # Requests and answers are of no use after minutes; neither holds a secret in clear.
    TopicSpec(name="kms.requests", partitions=REQUEST_PARTITIONS, retention_ms=HOUR_MS),
    TopicSpec(name="kms.results", partitions=REQUEST_PARTITIONS, retention_ms=HOUR_MS),
    # What the gateway answered, until `kms.record-uses` has linked it into the trail.
    TopicSpec(name="kms.calls", partitions=1),
    # One partition: keys and aliases are in one order for everybody who folds them.
    TopicSpec(name="kms.keys", partitions=1, cleanup=Cleanup.COMPACT, retention_ms=None),
    # Never compacted, never dropped: the trail is the record.
    TopicSpec(name="kms.audit", partitions=1, retention_ms=None),
)
