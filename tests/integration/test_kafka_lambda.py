"""A handler in Lambda's shape on a real Kafka, and an event source mapping to it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.support import naming, waiting

from sixfold import Batch, Retry, running
from sixfold.bus import Bus, NewRecord, TopicPartition, TopicSpec
from sixfold.lambdas import lambda_function
from sixfold.process import Process
from sixfold_events.registry import Registry

pytestmark = pytest.mark.kafka


async def test_a_handler_takes_any_producers_records_and_its_failures_come_again(
    kafka: Bus, names: naming.Names, tmp_path: Any
) -> None:
    """The event names the brokers; what is named comes again, and the last commit is the end of the topic."""
    topic, group = names("orders"), names("group")
    seen: list[tuple[str, bytes]] = []

    async def handler(event: dict[str, Any], context: Any) -> Any:
        failures = []
        for partition, records in event["records"].items():
            for record in records:
                value = base64.b64decode(record["value"])
                first = (event["bootstrapServers"], value) not in seen
                seen.append((event["bootstrapServers"], value))
                if value == b"\xff3" and first:
                    failures.append({"itemIdentifier": {"partition": partition, "offset": record["offset"]}})
                    break
        return {"batchItemFailures": failures}

    retry = Retry(attempts_max=5, backoff_s=0.05)
    made = lambda_function(handler, topics=[topic], name=group, batch=Batch(size=4, window_s=0.1), retry=retry)
    await kafka.create_topics([TopicSpec(name=topic, partitions=1)])
    await kafka.publish([NewRecord(topic=topic, value=b"\xff%d" % number) for number in range(8)])
    process = Process(name="kafka-lambda", data_dir=tmp_path, registry=Registry([]), bus=kafka)
    stopping = asyncio.Event()
    work = asyncio.create_task(running.Run(made, process).run(stopping))

    async def done() -> bool:
        return (await kafka.committed(group)).get(TopicPartition(topic, 0)) == 8

    await waiting.eventually(done, "all records are committed", 60)
    stopping.set()
    await work
    servers = kafka.url.removeprefix("kafka://")
    assert [value for _, value in seen] == [b"\xff%d" % number for number in (0, 1, 2, 3, 3, 4, 5, 6, 7)]
    assert {where for where, _ in seen} == {servers}
