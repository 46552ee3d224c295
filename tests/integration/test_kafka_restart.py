"""A broker that dies and comes back under a running producer and a running consumer."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support import brokers, buses, naming, waiting
from tests.support.records import make

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import overdue
from sixfold.bus.kafka import settings as kafka_settings
from sixfold.bus.kafka.client import KafkaBus


@pytest.fixture
def own_broker() -> Iterator[tuple[str, Path]]:
    """A local broker that nobody else uses."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no broker of its own can be started for this test")
    with brokers.local_folder() as found:
        yield found


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_the_consumer_goes_on(
    own_broker: tuple[str, Path], tmp_path: Path
) -> None:
    """Every record whose publish returned is stored once and delivered; nobody restarts anything.

    While the broker is away the member's session may expire: then a settle is fenced, and what it would have committed
    is delivered again.
    """
    bootstrap, folder = own_broker
    names = naming.Names()
    acknowledged: list[port.Position] = []
    seen: dict[port.Position, bytes | None] = {}
    stop, published = asyncio.Event(), asyncio.Event()

    async def publish(bus: port.Bus, topic: str, partition: int) -> None:
        number = 0
        while not stop.is_set():
            record = port.NewRecord(topic, b"%06d" % number, partition=partition)
            acknowledged.extend(await bus.publish([record]))
            number += 1

    async def consume(consumer: port.Consumer) -> None:
        while not published.is_set() or len(seen) < len(acknowledged):
            found = await consumer.fetch(wait_s=0.2)
            for partition, records in found.items():
                seen.update((port.Position(*partition, record.offset), record.value) for record in records)
            if found:
                with contextlib.suppress(port.FencedError):
                    await consumer.settle(offsets={p: records[-1].offset + 1 for p, records in found.items()})

    async def grown(by: int) -> None:
        goal = len(acknowledged) + by
        await waiting.eventually(lambda: len(acknowledged) >= goal, f"{by} more are published", 60)
        await waiting.eventually(lambda: len(seen) >= goal, f"{by} more are consumed", 60)

    async with buses.open_bus(buses.Place(f"kafka://{bootstrap}", tmp_path)) as bus:
        topic = await make(bus, names("t"), 2)
        async with bus.subscribe(names("g"), [topic]) as consumer:
            work = [asyncio.create_task(publish(bus, topic, partition)) for partition in range(2)]
            reading = asyncio.create_task(consume(consumer))
            await grown(by=50)
            for _ in range(2):
                await asyncio.to_thread(brokers.kill_local, folder)
                await asyncio.to_thread(brokers.start_local, folder)
                await grown(by=50)
            stop.set()
            await asyncio.gather(*work)
            published.set()
            await asyncio.wait_for(reading, 60)
        ends = [(await bus.offsets(port.TopicPartition(topic, partition))).end for partition in range(2)]
        assert sum(ends) == len(acknowledged)  # an idempotent producer's retries store nothing twice
        every = {port.Position(topic, p, offset): b"%06d" % offset for p in range(2) for offset in range(ends[p])}
        assert seen == every
        assert set(acknowledged) == set(every)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_publish_outlasts_a_broker_that_is_away_for_longer_than_a_request_may_take(
    own_broker: tuple[str, Path], tmp_path: Path
) -> None:
    """It waits as long as `publish_timeout_s` says: a broker that does not answer says nothing of the topic."""
    bootstrap, folder = own_broker
    settings = kafka_settings.KafkaSettings(request_timeout_s=0.5, publish_timeout_s=120)
    async with KafkaBus(bootstrap, data_dir=tmp_path, clock=clocks.SystemClock(), settings=settings) as bus:
        topic = await make(bus, naming.Names()("t"))
        await bus.publish([port.NewRecord(topic, b"before")])
        await asyncio.to_thread(brokers.kill_local, folder)
        publishing = asyncio.create_task(bus.publish([port.NewRecord(topic, b"meanwhile")]))
        given_up = await asyncio.wait({publishing}, timeout=overdue.CHECK_S + 2 * settings.request_timeout_s + 1)
        assert not given_up[0]
        await asyncio.to_thread(brokers.start_local, folder)
        assert await publishing == [port.Position(topic, 0, 1)]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_publish_waits_for_a_broker_whatever_other_topics_are_new_meanwhile(
    own_broker: tuple[str, Path], tmp_path: Path
) -> None:
    """A topic that existed when the producer began is not lost sight of when another must be looked up."""
    bootstrap, folder = own_broker
    names = naming.Names()
    settings = kafka_settings.KafkaSettings(request_timeout_s=60, publish_timeout_s=30)
    async with KafkaBus(bootstrap, data_dir=tmp_path, clock=clocks.SystemClock(), settings=settings) as bus:
        old = await make(bus, names("old"))
        await bus.publish([port.NewRecord(old, b"before")])
        new = await make(bus, names("new"))
        await bus.offsets(port.TopicPartition(new, 0))  # so that publishing need not ask what it is
        await asyncio.to_thread(brokers.kill_local, folder)
        publishing = [asyncio.create_task(bus.publish([port.NewRecord(each, b"meanwhile")])) for each in (old, new)]
        assert not (await asyncio.wait(publishing, timeout=1, return_when=asyncio.FIRST_COMPLETED))[0]
        await asyncio.to_thread(brokers.start_local, folder)
        assert await asyncio.gather(*publishing) == [[port.Position(old, 0, 1)], [port.Position(new, 0, 0)]]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_publish_that_was_given_up_does_not_bar_those_after_it(tmp_path: Path) -> None:
    """A partition without a leader for longer than a publish waits: once it has one again, publishing goes on."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no brokers can be started for this test")
    settings = kafka_settings.KafkaSettings(publish_timeout_s=2)
    with brokers.local_folder(3) as (bootstrap, folder):
        async with KafkaBus(bootstrap, data_dir=tmp_path, clock=clocks.SystemClock(), settings=settings) as bus:
            topic = await make(bus, naming.Names()("t"), replica_zones=("b",))  # one replica, on broker 2
            assert await bus.publish([port.NewRecord(topic, b"before")]) == [port.Position(topic, 0, 0)]
            await asyncio.to_thread(brokers.kill_local, folder, 2)
            for _ in range(4):  # until the brokers have noticed (4 s), and aiokafka gives a batch up
                with pytest.raises(port.BusError):
                    await bus.publish([port.NewRecord(topic, b"meanwhile")])
            await asyncio.to_thread(brokers.start_local, folder, 3)

            async def published() -> bool:
                with contextlib.suppress(port.BusUnavailableError):
                    return bool(await bus.publish([port.NewRecord(topic, b"after")]))
                return False

            await waiting.eventually(published, "publishing goes on", 60)
