"""Where replies go: the topic, and the header by which a request names the partition that its client reads."""

from __future__ import annotations

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events import cloudevents
from sixfold_events.system import RequestFailed

TOPIC = port.TopicSpec(name=RequestFailed.__event__.topic, partitions=6, retention_ms=3600 * 1000)
"""Replies of all functions to all clients."""
HEADER = "sixfold_replyto"
"""Of a request: the partition of `TOPIC` that its client reads."""


def partition_of(record: port.Record) -> int | None:
    """Where whoever sent `record` reads replies; None where nobody asked."""
    for name, value in record.headers:
        if name == HEADER and value.isdigit() and int(value) < TOPIC.partitions:
            return int(value)
    return None


def failure(record: port.Record, function: str, error: BaseException, clock: clocks.Clock) -> port.NewRecord | None:
    """The reply to a request that `function` could not handle; None where nobody asked."""
    partition = partition_of(record)
    if partition is None:
        return None
    asked = cloudevents.attributes_of(record.headers)
    event = RequestFailed(
        request=asked.id, function=function, error_type=type(error).__name__, message=str(error)[:2000]
    )
    cause = cloudevents.cause_of(record.topic, record.partition, record.offset, asked)
    attributes = cloudevents.Attributes(
        id=cloudevents.derived_id(function, cause, -2_000_000),
        type=event.__event__.type,
        source=f"/functions/{function}",
        time_ms=clocks.now_ms(clock),
        correlation_id=asked.correlation_id or asked.id,
        causation_id=asked.id,
    )
    message = cloudevents.encode(event, attributes)
    return port.NewRecord(
        topic=TOPIC.name, value=message.value, key=message.key, headers=message.headers, partition=partition
    )
