"""aiokafka's producers: how each is made, and how it is closed."""

from __future__ import annotations

import contextlib
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from sixfold.bus.kafka import connecting, lifecycle
from sixfold.bus.kafka import settings as kafka_settings

STOP_S = 5.0
"""How long a producer may take to flush when it is closed."""
REQUEST_BYTES_MAX = 100_000_000
"""Brokers take no larger requests (`socket.request.max.bytes`); the topic's own limit is checked before."""


def new(
    bootstrap: str,
    settings: kafka_settings.KafkaSettings,
    *,
    batch_bytes: int,
    transactional_id: str | None = None,
) -> Any:
    """An idempotent producer, not started: retries inside it never store a record twice."""
    options: dict[str, Any] = connecting.options(settings)
    if transactional_id is not None:
        options["transactional_id"] = transactional_id
        options["transaction_timeout_ms"] = int(settings.transaction_timeout_s * 1000)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=settings.linger_ms,
        max_batch_size=batch_bytes,
        compression_type=settings.compression,
        max_request_size=REQUEST_BYTES_MAX,
        request_timeout_ms=int(settings.request_timeout_s * 1000),
        retry_backoff_ms=settings.transaction_backoff_ms if transactional_id else settings.retry_backoff_ms,
        **options,
    )
    # How long a batch waits for a partition without a leader; aiokafka takes the time of one request.
    producer._message_accumulator._batch_ttl = settings.publish_timeout_s
    return producer


async def stop(producer: Any, timeout_s: float = STOP_S) -> None:
    """Flush and close; what cannot be delivered in time is dropped, as its publishers were told by then."""
    await lifecycle.to_its_end(_stop(producer, timeout_s))


async def _stop(producer: Any, timeout_s: float) -> None:
    if await lifecycle.stop(producer.stop(), producer.client, timeout_s):
        return
    # aiokafka waits for ever for batches that no broker takes: fail them, so that its own tasks end.
    accumulator = producer._message_accumulator
    for queue in accumulator._batches.values():
        accumulator._pending_batches.update(queue)
    accumulator.fail_all(kafka.ProducerClosed())
    with contextlib.suppress(Exception):
        await lifecycle.stop(_drop(producer), producer.client, timeout_s)


async def _drop(producer: Any) -> None:
    await producer.client.close()
    try:
        await producer._sender.close()
    finally:
        await producer.client.close()  # what the sender opened meanwhile
