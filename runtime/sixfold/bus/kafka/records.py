"""The port's records, made straight from what aiokafka's C code parsed.

aiokafka makes a `ConsumerRecord` of eleven fields first; making that and then ours costs more than a small handler does.
Read from aiokafka 0.14's `consumer/fetcher.py`: the fetcher keeps what it fetched as `FetchResult`s in a dictionary
until somebody takes them, and a `FetchResult`'s `PartitionRecords` asks itself for each record's form.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aiokafka.consumer.fetcher import FetchResult

from sixfold.bus import port


class Fetched(OrderedDict[Any, Any]):
    """What a fetcher has fetched and nobody has taken, by partition; its records are `port.Record`s when they are."""

    def __setitem__(self, partition: Any, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._consumer_record = _record
        super().__setitem__(partition, result)


def install(client: Any) -> None:
    """Have `client`, an aiokafka consumer that was started and has no partitions yet, give `port.Record`s."""
    client._fetcher._records = Fetched()


def _record(partition: Any, raw: Any) -> port.Record:
    return port.Record(
        partition.topic, partition.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
    )
