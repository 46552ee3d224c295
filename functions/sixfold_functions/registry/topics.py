"""The registry's topic: what it holds, one record a schema and one a subject."""

from __future__ import annotations

from sixfold.bus.port import Cleanup, TopicSpec

TOPIC = "registry.state"
SCHEMA_BYTES_MAX = 1_000_000
"""Of one schema's text; Confluent's registry ends at the default record of Kafka."""

topics = (
    # One partition: everybody who folds it sees one order.
    TopicSpec(
        name=TOPIC,
        partitions=1,
        cleanup=Cleanup.COMPACT,
        retention_ms=None,
        record_bytes_max=SCHEMA_BYTES_MAX + 64 * 1024,
    ),
)
