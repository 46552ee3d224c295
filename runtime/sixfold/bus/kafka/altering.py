"""Changing a topic that exists: its settings, and more partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.kafka import failures, specs, topics
from sixfold.bus.kafka import settings as kafka_settings

_OWN = frozenset(
    {
        "cleanup.policy",
        "retention.ms",
        "retention.bytes",
        "max.message.bytes",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "delete.retention.ms",
        "segment.ms",
        "segment.bytes",
    }
)
"""What `specs.configs` may set; of other settings a topic keeps what it has."""
_TOPIC_SOURCE = 1
"""Kafka's word for a setting of the topic's own (DYNAMIC_TOPIC_CONFIG), not one that it inherits."""


async def alter(admin: topics.TopicAdmin, spec: port.TopicSpec, settings: kafka_settings.KafkaSettings) -> None:
    """As `port.Bus.alter_topic`."""
    found = (await admin.describe([spec.name])).get(spec.name)
    if found is None:
        raise failures.unknown_topic(spec.name)
    count = len(found["partitions"])
    if spec.partitions < count:
        raise port.TopicConflictError(
            f"topic {spec.name!r} has {count} partitions, {spec.partitions} were declared; partitions are not taken "
            "away: declare as many as it has, or use another name"
        )
    await _configure(admin, spec.name, specs.configs(spec, settings))
    if spec.partitions > count:
        placed = specs.place(spec, await admin.racks() if spec.replica_zones else {})
        assigned = [placed[partition] for partition in range(count, spec.partitions)] if placed else None
        more = {spec.name: NewPartitions(spec.partitions, assigned)}
        try:
            await admin.call("adding partitions", lambda client: client.create_partitions(more))
        except port.BusUnavailableError as error:
            # Sent again after an answer that was lost: the partitions are there already.
            if not isinstance(error.__cause__, kafka.InvalidPartitionsError):
                raise
        await admin.await_partitions(spec.name, spec.partitions)
    admin.forget(spec.name)


async def _configure(admin: topics.TopicAdmin, name: str, entries: Mapping[str, str]) -> None:
    """Set `entries`. The request replaces all settings of the topic, so what others have set is sent along."""
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    answers = await admin.call("reading topic settings", lambda client: client.describe_configs([resource]))
    kept = {
        entry[0]: entry[1]
        for answer in answers
        for found in answer.resources
        for entry in found[4]
        if entry[0] not in _OWN and _is_own(answer, entry)
    }
    changed = ConfigResource(ConfigResourceType.TOPIC, name, configs={**kept, **entries})
    for answer in await admin.call("changing topic settings", lambda client: client.alter_configs([changed])):
        for code, message, *_ in answer.resources:
            if code:
                detail = message or kafka.for_code(code).__name__
                raise errors.UsageError(f"topic {name!r} cannot be changed: {detail}")


def _is_own(answer: Any, entry: Any) -> bool:
    """Whether a setting is the topic's own: the fourth part says it, in the first version as "is a default"."""
    return not entry[3] if answer.API_VERSION == 0 else entry[3] == _TOPIC_SOURCE
