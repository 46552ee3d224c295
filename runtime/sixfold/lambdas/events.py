"""The event that Lambda gives a handler for records of a self-managed Kafka cluster. Pure.

Source: AWS Lambda Developer Guide, "Using Lambda with self-managed Apache Kafka", example event.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from sixfold.bus import port

SOURCE = "SelfManagedKafka"


def kafka_event(records: Iterable[port.Record], bootstrap_servers: str) -> dict[str, Any]:
    """`records` by `topic-partition`, in their order; keys and values in base64, header values as lists of bytes.

    A record without a key has the key None, a tombstone the value None.
    """
    grouped: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        grouped.setdefault(partition_name(record), []).append(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp_ms,
                "timestampType": "CREATE_TIME",
                "key": _base64(record.key),
                "value": _base64(record.value),
                "headers": [{name: list(data or b"")} for name, data in record.headers],
            }
        )
    return {"eventSource": SOURCE, "bootstrapServers": bootstrap_servers, "records": grouped}


def partition_name(record: port.Record) -> str:
    """How Lambda names a record's partition: `orders-0`."""
    return f"{record.topic}-{record.partition}"


def bootstrap_servers(bus_url: str) -> str:
    """What stands in the event as `bootstrapServers`: a cluster's addresses, or `embedded` where there is none."""
    scheme, _, rest = bus_url.partition(":")
    return rest.removeprefix("//") if scheme == "kafka" else scheme


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
