"""Between a `TopicSpec` and Kafka's topic settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sixfold.bus import port
from sixfold.bus.kafka import settings as kafka_settings

RECORD_OVERHEAD_BYTES = 48_588
"""What a broker counts beyond key, value and headers: the frame of the batch and of a record with very many headers.
With it the port's default of 1,000,000 is Kafka's own default of 1,048,588."""

SEGMENT_BYTES_MIN = 1024 * 1024
"""Kafka 4 takes no smaller segments."""
SEGMENT_BYTES_MAX = 1024 * 1024 * 1024
SEGMENT_MS_MIN = 1000

CHANGELOG_SUFFIX = ".changelog"


def is_internal(name: str) -> bool:
    """Kafka's own topics and the logs of tables: not the users'."""
    return name.startswith("__") or name.endswith(CHANGELOG_SUFFIX)


def configs(spec: port.TopicSpec, settings: kafka_settings.KafkaSettings) -> dict[str, str]:
    """Kafka's settings for `spec`.

    Brokers drop and compact whole closed segments, so a segment is a fraction of what retention keeps.
    """
    entries = {
        "cleanup.policy": spec.cleanup.value,
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
        "retention.bytes": str(-1 if spec.retention_bytes is None else spec.retention_bytes),
        "max.message.bytes": str(spec.record_bytes_max + RECORD_OVERHEAD_BYTES),
        "message.timestamp.type": "CreateTime",
    }
    segment_ms = settings.segment_ms_max
    if spec.cleanup is port.Cleanup.COMPACT:
        segment_ms = min(segment_ms, settings.compaction_ms)
        entries["min.cleanable.dirty.ratio"] = str(settings.compaction_dirty_ratio)
        entries["delete.retention.ms"] = str(settings.delete_retention_ms)
    elif spec.retention_ms is not None:
        segment_ms = max(SEGMENT_MS_MIN, min(segment_ms, spec.retention_ms // 4))
    entries["segment.ms"] = str(segment_ms)
    if spec.retention_bytes is not None:
        entries["segment.bytes"] = str(max(SEGMENT_BYTES_MIN, min(SEGMENT_BYTES_MAX, spec.retention_bytes // 4)))
    return entries


def spec_of(name: str, partitions: int, replication: int, entries: Mapping[str, str]) -> port.TopicSpec:
    """The declaration that would give these settings."""
    retention_ms = int(entries.get("retention.ms", "-1"))
    retention_bytes = int(entries.get("retention.bytes", "-1"))
    return port.TopicSpec(
        name=name,
        partitions=partitions,
        cleanup=port.Cleanup.COMPACT if "compact" in entries.get("cleanup.policy", "") else port.Cleanup.DELETE,
        retention_ms=None if retention_ms < 0 else retention_ms,
        retention_bytes=None if retention_bytes < 0 else retention_bytes,
        record_bytes_max=record_bytes_max(entries),
        replication=replication,
    )


def record_bytes_max(entries: Mapping[str, str]) -> int:
    """Largest record (key, value and headers together) that the topic takes."""
    return max(1, int(entries.get("max.message.bytes", "1048588")) - RECORD_OVERHEAD_BYTES)


def place(spec: port.TopicSpec, racks: Mapping[int, str]) -> dict[int, list[int]]:
    """Brokers of each partition so that partition p's leader stands in `spec.replica_zones[p]`; empty: leave it to Kafka.

    `racks` are the brokers' zones by node id. The leader is the first replica; further replicas go to the other zones
    first. Empty too where the cluster does not have the zones, as with one broker at a desk.
    """
    zones = spec.replica_zones
    by_zone: dict[str, list[int]] = {}
    for node, rack in sorted(racks.items()):
        by_zone.setdefault(rack, []).append(node)
    if not zones or not set(zones) <= set(by_zone):
        return {}
    copies = min(spec.replication or 1, len(racks))
    placed = {}
    for partition in range(spec.partitions):
        zone = zones[partition % len(zones)]
        nodes = by_zone[zone]
        leader = nodes[partition // len(zones) % len(nodes)]
        others = [node for node in sorted(racks) if node != leader]
        others.sort(key=lambda node: racks[node] == zone)
        placed[partition] = [leader, *others[: copies - 1]]
    return placed


def conflict(spec: port.TopicSpec, partitions: int) -> port.TopicConflictError:
    """A topic of this name exists with another number of partitions."""
    return port.TopicConflictError(
        f"topic {spec.name!r} exists with {partitions} partitions, {spec.partitions} were declared. Partitions decide where "
        "keys go, so they are not changed: declare the same number, or use another name"
    )
