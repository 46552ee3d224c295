"""A bare aiokafka producer: `send` for each event, gathered, with the settings and the headers of ours."""

from __future__ import annotations

import asyncio
import io
import os
import time
from datetime import UTC, datetime
from typing import Any

import fastavro
import uvloop
from aiokafka import AIOKafkaProducer

from bench.runtime.job import GROUP, KEYS, NOTE, PREFIX, Job, told
from bench.runtime.tally import say


def message(job: Job, parsed: Any, number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Value, key and headers of one event in CloudEvents' binary binding for Kafka, as our publisher writes them."""
    sensor = f"sensor-{number % KEYS:04}"
    value = io.BytesIO()
    value.write(PREFIX.pack(0, job.schema_id))
    fastavro.schemaless_writer(value, parsed, {"sensor": sensor, "number": number, "value": number / 7, "note": NOTE})
    identifier = os.urandom(16).hex().encode()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", identifier),
        ("ce_type", job.event_type.encode()),
        ("ce_source", b"/bench"),
        ("ce_time", now.encode()),
        ("content-type", b"application/avro"),
        ("ce_correlationid", identifier),
    ]
    return value.getvalue(), sensor.encode(), headers


async def publish(job: Job) -> None:
    """Publish `job.count` events in groups, two groups on the way at a time; each is awaited to its acknowledgement."""
    assert job.schema is not None
    parsed = fastavro.parse_schema(dict(job.schema))
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=job.linger_ms,
        max_batch_size=job.batch_bytes,
    )
    await producer.start()

    async def group(start: int, size: int) -> None:
        acknowledgements = []
        for number in range(start, start + size):
            value, key, headers = message(job, parsed, number)
            acknowledgements.append(await producer.send(job.topic, value, key, headers=headers))
        await asyncio.gather(*acknowledgements)

    first_s = 0.0
    for begin, end in ((0, job.warm), (job.warm, job.count)):
        first_s = time.monotonic()
        waiting: set[asyncio.Task[None]] = set()
        for start in range(begin, end, GROUP):
            waiting.add(asyncio.create_task(group(start, min(GROUP, end - start))))
            if len(waiting) > 1:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*waiting)
    say(handled=job.count, first_s=first_s, last_s=time.monotonic())
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(publish(told()))
