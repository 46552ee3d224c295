"""What the Kafka back end promises beyond the contract, and what only a cluster can get wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support import brokers, buses, members, naming, waiting
from tests.support.records import contents, make, numbered, of_changelogs, values

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import settings as kafka_settings
from sixfold.bus.kafka.client import KafkaBus


async def test_no_kafka_at_the_address_is_said_within_seconds(tmp_path: Path) -> None:
    """BusUnavailableError with the address, not a wait without end."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    nowhere = f"127.0.0.1:{brokers.free_port()}"
    with pytest.raises(port.BusUnavailableError, match=nowhere):
        async with buses.open_bus(buses.Place(f"kafka://{nowhere}", tmp_path)):
            pass
    assert loop.time() - begun < 6


async def test_an_address_that_never_answers_is_given_up_within_seconds(tmp_path: Path) -> None:
    """Something listens there, but it is no Kafka."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    try:
        with pytest.raises(port.BusUnavailableError, match=address):
            async with buses.open_bus(buses.Place(f"kafka://{address}", tmp_path)):
                pass
        await asyncio.wait_for(gone.wait(), 10)
    finally:
        server.close()


@pytest.mark.kafka
async def test_a_topic_deleted_under_a_publisher_is_an_error_not_a_wait(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names
) -> None:
    """UnknownTopicError within seconds, from a bus that had published there before; its other topics go on."""
    topic, other = await make(kafka, names("t")), await make(kafka, names("other"))
    await numbered(kafka, topic, 0, 1)
    async with buses.open_bus(cluster) as elsewhere:
        await elsewhere.delete_topic(topic)
    with pytest.raises(port.UnknownTopicError, match=topic):
        await asyncio.wait_for(numbered(kafka, topic, 1, 1), 30)
    await asyncio.wait_for(numbered(kafka, other, 0, 1), 30)


@pytest.mark.kafka
async def test_a_topic_that_goes_while_records_are_on_their_way_is_no_promise_that_nothing_is_stored(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names
) -> None:
    """PartlyStoredError where the deletion is met only by sending; the next call says UnknownTopicError and stores nothing."""
    stays, goes = await make(kafka, names("stays")), await make(kafka, names("goes"))
    both = [port.NewRecord(stays, b"x"), port.NewRecord(goes, b"x")]
    trusting = kafka_settings.KafkaSettings(topic_age_s_max=3600)  # does not look before it sends
    bootstrap = cluster.url.removeprefix("kafka://")
    async with KafkaBus(bootstrap, data_dir=cluster.data_dir, clock=clocks.SystemClock(), settings=trusting) as bus:
        await bus.publish(both)
        await kafka.delete_topic(goes)
        with pytest.raises(port.PartlyStoredError, match=goes):
            await asyncio.wait_for(bus.publish(both), 30)
        assert await bus.offsets(port.TopicPartition(stays, 0)) == (0, 2)
        with pytest.raises(port.UnknownTopicError, match=goes):
            await bus.publish(both)
        assert await bus.offsets(port.TopicPartition(stays, 0)) == (0, 2)


@pytest.mark.kafka
async def test_a_limit_that_was_lowered_meanwhile_is_no_promise_that_nothing_is_stored(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names
) -> None:
    """PartlyStoredError where the broker refuses one of several records; the next call knows the limit."""
    topic = await make(kafka, names("t"), 2)
    records = [port.NewRecord(topic, b"x", partition=0), port.NewRecord(topic, bytes(200_000), partition=1)]
    await kafka.publish(records)
    await brokers.configure(cluster.url, topic, {"max.message.bytes": "100000"})
    with pytest.raises(port.PartlyStoredError, match=topic):
        await asyncio.wait_for(kafka.publish(records), 30)
    with pytest.raises(port.RecordTooLargeError):
        await kafka.publish(records)


@pytest.mark.kafka
async def test_a_consumer_starts_after_what_its_state_reflects(kafka: port.Bus, names: naming.Names) -> None:
    """A crash between the changelog and the commit: the state is ahead, so its records are not delivered again."""
    topic, group = await make(kafka, names("t")), names("g")
    partition = port.TopicPartition(topic, 0)
    await numbered(kafka, topic, 0, 10)
    async with kafka.subscribe(group, [topic]) as consumer:
        await waiting.collect(consumer, 10)
        await consumer.settle(state={("table", 0): {b"sum": b"1"}}, offsets={partition: 2})
    # What a settle does before it commits; then the process is gone.
    rows = of_changelogs(group, {("table", 0): {b"sum": b"15"}}, {partition: 6})
    await kafka.publish(rows)
    async with kafka.subscribe(group, [topic]) as consumer:
        assert values(await waiting.collect(consumer, 4)) == [6, 7, 8, 9]
        assert await consumer.state_get("table", 0, b"sum") == b"15"


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("atomic", [False, True])
async def test_a_member_that_slept_past_its_session_is_fenced_and_stores_nothing(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """It does not know that its partition has a new owner, yet neither its output nor its row nor its offset appears."""
    topic, output, group = await make(kafka, names("t")), await make(kafka, names("out")), names("g")
    partition = port.TopicPartition(topic, 0)
    await numbered(kafka, topic, 0, 5)
    async with members.joined(cluster, group, [topic]) as sleeper:
        await sleeper.fetch(5)
        await sleeper.settle(
            {partition: 1}, records=[(output, "before")], state=[("table", 0, "k", "before")], atomic=atomic
        )
        os.kill(sleeper.pid, signal.SIGSTOP)
        async with kafka.subscribe(group, [topic]) as heir:
            assert values(await waiting.collect(heir, 4)) == [1, 2, 3, 4]
            os.kill(sleeper.pid, signal.SIGCONT)
            with pytest.raises(AssertionError, match="FencedError"):
                await sleeper.settle(
                    {partition: 5}, records=[(output, "after")], state=[("table", 0, "k", "after")], atomic=atomic
                )
            await sleeper.kill()
            assert await heir.state_get("table", 0, b"k") == b"before"
        assert await kafka.committed(group) == {partition: 1}
        assert await contents(kafka, output) == [b"before"]


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_leaders_stand_in_the_zones_that_were_asked_for(tmp_path: Path, names: naming.Names) -> None:
    """Six partitions over three zones, one replica each: a lost zone takes its own two only, and the others go on."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no cluster of three can be started")
    with brokers.local_folder(3) as (bootstrap, folder):
        async with buses.open_bus(buses.Place(f"kafka://{bootstrap}", tmp_path)) as bus:
            zones = ("a", "a", "b", "b", "c", "c")
            topic = await make(bus, names("redo"), 6, replication=1, replica_zones=zones)
            spread = await make(bus, names("spread"), 3)
            described = await bus.topics()
            assert (described[topic].replication, described[spread].replication) == (1, 3)
            await bus.publish([port.NewRecord(topic, b"x", partition=number) for number in range(6)])
            await asyncio.to_thread(brokers.kill_local, folder, 3)  # zone c
            for number in range(4):
                assert await bus.publish([port.NewRecord(topic, b"y", partition=number)])
            for number in range(3):
                assert await bus.publish([port.NewRecord(spread, b"y", partition=number)])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(bus.publish([port.NewRecord(topic, b"y", partition=5)]), 1)
            await asyncio.to_thread(brokers.start_local, folder, 3)

            async def back() -> bool:
                with contextlib.suppress(port.BusUnavailableError):
                    return bool(await bus.publish([port.NewRecord(topic, b"z", partition=5)]))
                return False

            await waiting.eventually(back, "zone c's partition takes records again", 90)
            async with bus.assign([port.TopicPartition(topic, 5)]) as consumer:
                found = [record.value for record in await waiting.collect(consumer, 2)]
            assert (found[0], found[-1]) == (b"x", b"z")
