"""Records that come back to one function, through the topic `NAME.retry`: retries that hold nobody up, and redrives.

A record that failed waits as a timer and is published there when its next attempt is due; a dead letter is published
there by `sixfold dlq redrive`. It comes back as it was, with where it lay and the number of its next attempt as
headers, so the handler sees the original position and emits the same event ids on every attempt.
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
DEFAULT_BYTES = port.TopicSpec(name="").record_bytes_max


class Returned(NamedTuple):
    """A record that came back."""

    record: port.Record
    """As it lay in its own topic."""
    attempt: int
    """Number of the attempt that is due now."""
    redrives: int = 0
    """How often it was taken back from the dead letters."""


def timer_of(function: AnyFunction, returned: Returned, *, due_ms: int, partitions: int) -> timers.Timer:
    """The timer that sends a record through the retry topic, which has `partitions`: into the one of its own number."""
    number = returned.record.partition
    return timers.of(back(function, returned, number if number < partitions else None), due_ms=due_ms)


def back(function: AnyFunction, returned: Returned, partition: int | None = None) -> port.NewRecord:
    """The record to publish to the retry topic, into `partition` or the one of its key."""
    record = returned.record
    details = {
        "attempt": returned.attempt,
        "redrives": returned.redrives,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
    }
    headers = [*record.headers, *((PREFIX + name, str(value).encode()) for name, value in details.items())]
    return port.NewRecord(
        topic=function.retry_topic, key=record.key, value=record.value, headers=headers, partition=partition
    )


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
            int(details.get("redrives", "0")),
        )
    except (KeyError, ValueError):
        return Returned(record, 1)


def topic_spec(function: AnyFunction, sources: Mapping[str, port.TopicSpec]) -> port.TopicSpec:
    """The retry topic of `function`: takes whatever its `sources` take, and has a partition for each number of theirs."""
    specs = [
        sources.get(topic, port.TopicSpec(name=topic))
        for topic in function.sources_among(sources)
        if topic != function.retry_topic
    ]
    return port.TopicSpec(
        name=function.retry_topic,
        partitions=max((spec.partitions for spec in specs), default=1),
        record_bytes_max=max((spec.record_bytes_max for spec in specs), default=DEFAULT_BYTES) + OVERHEAD_BYTES,
    )
