"""What is measured: one event type of 200 bytes as Avro, with every CloudEvents header that an emitted event carries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from bench.runtime.job import KEYS, NOTE, Job
from sixfold import Event
from sixfold.bus import Bus, NewRecord, Record, TopicSpec
from sixfold_events import avro, cloudevents
from sixfold_events.registry import Registry

PARTITIONS = 12
FILL = 10_000
"""Records of one call while a topic is filled."""
REVEAL_TIMEOUT_S = 300


class Reading(Event, type="reading.taken", topic="bench.readings", key="sensor"):
    """A sensor's reading; 200 bytes as Avro."""

    sensor: str
    number: int
    value: float
    note: str


class Transformed(Event, type="reading.transformed", topic="bench.transformed", key="sensor"):
    """What a function that transforms makes of a reading; as large."""

    sensor: str
    number: int
    value: float
    note: str


CODEC = avro.codec(Reading)
REGISTRY = Registry([Reading, Transformed])


def direct(topic: str, output: str = Transformed.__event__.topic) -> None:
    """From now on this process publishes and takes readings by `topic`, and emits by `output`: each run has its own."""
    Reading.__event__ = Reading.__event__._replace(topic=topic)
    Transformed.__event__ = Transformed.__event__._replace(topic=output)


def output_of(job: Job) -> str:
    """The topic that a transforming job fills."""
    return f"{job.group}.output"


def transformed(record: Record) -> Transformed:
    """The event in a record of such a topic."""
    event = REGISTRY.decode_as(Transformed, record.value)
    assert isinstance(event, Transformed)
    return event


def reading(number: int, keys: int = KEYS, value: float | None = None) -> Reading:
    """The `number`-th reading; its key is one of `keys`, in turn."""
    return Reading(
        sensor=f"sensor-{number % keys:04}",
        number=number,
        value=number / 7 if value is None else value,
        note=NOTE,
    )


def records(topic: str, numbers: range, *, keys: int = KEYS, partitions: int = PARTITIONS) -> list[NewRecord]:
    """Readings as records with all headers. A key is always in one partition, and partitions are equally full."""
    now_ms = time.time_ns() // 1_000_000
    made = []
    for number in numbers:
        attributes = cloudevents.Attributes(
            id=f"{number:032x}",
            type=Reading.__event__.type,
            source="/functions/bench.source",
            time_ms=now_ms,
            correlation_id=f"{number // 3:032x}",
            causation_id=f"{number // 2:032x}",
            traceparent=f"00-{number:032x}-{number:016x}-01",
        )
        message = cloudevents.encode(reading(number, keys), attributes)
        made.append(
            NewRecord(
                topic=topic,
                value=message.value,
                key=message.key,
                headers=message.headers,
                partition=number % keys % partitions,
            )
        )
    return made


async def fill(
    bus: Bus, topic: str, numbers: range, *, keys: int = KEYS, partitions: int = PARTITIONS, create: bool = True
) -> None:
    """Publish readings to `topic`, made first unless `create` is off."""
    if create:
        await bus.create_topics([TopicSpec(name=topic, partitions=partitions)])
    for start in range(0, len(numbers), FILL):
        # One call after the other: two on the way would mix the order of a key.
        await bus.publish(records(topic, numbers[start : start + FILL], keys=keys, partitions=partitions))


@asynccontextmanager
async def hidden(bootstrap: str, made: Sequence[NewRecord]) -> AsyncIterator[None]:
    """Records that lie in their topics and that our consumers see at once when the block ends.

    They are one open transaction: thus processes can start and join before anything is measured, and no producer
    takes part in the measurement.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=f"bench-{time.monotonic_ns()}",
        transaction_timeout_ms=REVEAL_TIMEOUT_S * 1000,
        max_batch_size=256 * 1024,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        sent = [
            await producer.send(each.topic, each.value, each.key, each.partition, headers=list(each.headers))
            for each in made
        ]
        await asyncio.gather(*sent)
        yield
        await producer.commit_transaction()
    finally:
        await producer.stop()
