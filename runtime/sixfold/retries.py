"""Retries that hold nobody up: a record that failed waits as a timer and comes back through the topic `NAME.retry`.

It comes back as it was, with where it lay and the number of its next attempt as headers, so the handler sees the
original position and emits the same event ids on every attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sixfold import timers
from sixfold.bus import port
from sixfold.function import AnyFunction

PREFIX = "sixfold_retry_"
OVERHEAD_BYTES = 4 * 1024
"""What a retry topic takes beyond the largest record of its sources: the headers below."""
PARTITIONS_MAX = 6
DEFAULT_BYTES = port.TopicSpec(name="").record_bytes_max


class Returned(NamedTuple):
    """A record that came back."""

    record: port.Record
    """As it lay in its own topic."""
    attempt: int
    """Number of the attempt that is due now."""


def timer_of(function: AnyFunction, record: port.Record, attempt: int, due_ms: int, source: str) -> timers.Timer:
    """The timer that sends `record` through the retry topic for `attempt`; `source` is the topic that it was read from."""
    assert function.retry_topic is not None
    details = {
        "attempt": attempt,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
    }
    headers = [*record.headers, *((PREFIX + name, str(value).encode()) for name, value in details.items())]
    back = port.NewRecord(topic=function.retry_topic, key=record.key, value=record.value, headers=headers)
    return timers.of(back, due_ms=due_ms, source=port.TopicPartition(source, 0))


def name_of(record: port.Record) -> str:
    """The timer's name: one a record, so a redelivery sets the same one."""
    return f"retry/{record.topic}/{record.partition}/{record.offset}"


def read(record: port.Record) -> Returned:
    """What `timer_of` sent, as read from the retry topic; a record that nobody of ours sent is its own original."""
    found = {name: value for name, value in record.headers if name.startswith(PREFIX) and value is not None}
    headers = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
    try:
        details = {name.removeprefix(PREFIX): value.decode() for name, value in found.items()}
        return Returned(
            port.Record(
                topic=details["topic"],
                partition=int(details["partition"]),
                offset=int(details["offset"]),
                timestamp_ms=int(details["timestamp"]),
                key=record.key,
                value=record.value,
                headers=headers,
            ),
            int(details["attempt"]),
        )
    except (KeyError, ValueError):
        return Returned(record, 1)


def topic_spec(function: AnyFunction, sources: Mapping[str, port.TopicSpec]) -> port.TopicSpec:
    """The retry topic of `function`: takes whatever its `sources` take."""
    assert function.retry_topic is not None
    specs = [
        sources.get(topic, port.TopicSpec(name=topic))
        for topic in function.sources_among(sources)
        if topic != function.retry_topic
    ]
    return port.TopicSpec(
        name=function.retry_topic,
        partitions=min(PARTITIONS_MAX, max((spec.partitions for spec in specs), default=1)),
        record_bytes_max=max((spec.record_bytes_max for spec in specs), default=DEFAULT_BYTES) + OVERHEAD_BYTES,
    )
