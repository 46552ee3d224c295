"""The ACLs that the declarations give are enough for a function, and no more than enough: on a broker that enforces them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.conftest import missing
from tests.support import brokers, secured, waiting

from sixfold import Context, acl, function, replies, running
from sixfold.bus import open_bus, port
from sixfold.process import Process
from sixfold.telemetry import reporting
from sixfold.worker import alarms
from sixfold_events import Event, cloudevents
from sixfold_events.registry import Registry


class Asked(Event, type="acl.asked", key="name"):
    """What the function reads."""

    name: str


class Answered(Event, type="acl.answered", key="name"):
    """What it writes."""

    name: str
    times: int


@function(on=Asked, emits=[Answered], name="acl-answer", tables=["times"], delivery="exactly-once")
async def answer(asked: Asked, ctx: Context) -> None:
    """Count and answer."""
    table = ctx.table("times")
    times = await table.get(asked.name, 0) + 1
    table.put(asked.name, times)
    ctx.emit(Answered(name=asked.name, times=times))


@pytest.fixture
def broker() -> Iterator[secured.Secured]:
    """A broker with an authorizer."""
    try:
        with secured.secured() as running_:
            yield running_
    except brokers.NoBrokerError as error:
        missing(f"no Kafka with an authorizer: {error}")


async def make_topics(broker: secured.Secured) -> None:
    """As an administrator does with `sixfold topics apply`."""
    framework = [reporting.TOPIC.name, alarms.TICKS.name, replies.TOPIC.name]
    names = ["acl.asked", "acl.answered", "acl-answer.dlq", "elsewhere", *framework]
    client = AIOKafkaAdminClient(**broker.admin)
    await client.start()
    try:
        await client.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await client.close()


async def ask(broker: secured.Secured, name: str) -> None:
    """Publish as somebody who may."""
    attributes = cloudevents.Attributes(id=name, type="acl.asked", source="/test", time_ms=1415811600000)
    message = cloudevents.encode(Asked(name=name), attributes)
    async with AIOKafkaProducer(**broker.admin) as producer:
        headers = list(message.headers)
        await producer.send_and_wait(message.topic, message.value, key=message.key, headers=headers)


async def answers(broker: secured.Secured, count: int) -> list[Any]:
    """What was answered, as somebody who may reads it."""
    registry = Registry([Answered])
    consumer = AIOKafkaConsumer(
        "acl.answered", auto_offset_reset="earliest", isolation_level="read_committed", **broker.admin
    )
    async with consumer:
        found: list[Any] = []
        async with asyncio.timeout(waiting.DEADLINE_S):
            while len(found) < count:
                record = await consumer.getone()
                found.append(registry.decode(record.value, record.headers))
        return found


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_function_works_under_its_acls_and_can_do_nothing_else(
    broker: secured.Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Created with Kafka's own tool from the printed commands: it reads, counts in a table, answers in a transaction and
    reports; before them it could not start, and writing elsewhere, or reading what it only writes, is refused. It comes
    as a principal of its own name, by its own password."""
    await make_topics(broker)
    assert answer.name == secured.USER
    monkeypatch.setenv("SIXFOLD_KAFKA_CA_FILE", str(broker.authority.certificate))
    monkeypatch.setenv("SIXFOLD_KAFKA_USER", secured.USER)
    monkeypatch.setenv("SIXFOLD_KAFKA_PASSWORD", secured.USER_PASSWORD)
    url = f"kafka://{broker.at('TLS')}"
    async with open_bus(url, data_dir=tmp_path) as bus:
        assert await bus.topics() == {}, "without ACLs nothing is to be seen"
    found = acl.grants(answer, [])
    for command in acl.commands(found, bootstrap=broker.at("SASL"), config=str(broker.config)):
        await asyncio.to_thread(broker.run, command)
    async with open_bus(url, data_dir=tmp_path) as bus:
        process = Process(name="answering", data_dir=tmp_path, registry=Registry([Asked, Answered]), bus=bus)
        work = asyncio.create_task(running.run_functions(process, [answer], stopping=process.stopping))
        try:
            for name in ("a", "b", "a"):
                await ask(broker, name)
            assert sorted((each.name, each.times) for each in await answers(broker, 3)) == [
                ("a", 1),
                ("a", 2),
                ("b", 1),
            ]
            reports = port.TopicPartition(reporting.TOPIC.name, 0)

            async def reported() -> bool:
                return (await bus.offsets(reports)).end > 0

            await waiting.eventually(reported, "the process has reported")
        finally:
            process.stopping.set()
            await work
        assert "elsewhere" not in await bus.topics()
        for topic in ("elsewhere", "acl.asked"):
            with pytest.raises(port.BusError):
                await bus.publish([port.NewRecord(topic, b"x")])
        with pytest.raises(port.BusError):
            async with bus.assign([port.TopicPartition("acl.answered", 0)]) as consumer:
                await consumer.fetch(wait_s=5)
        with pytest.raises(port.BusRefusedError, match="another-group"):
            async with bus.subscribe("another-group", ["acl.asked"]):
                pass
