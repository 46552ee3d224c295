"""Three brokers in zones a, b and c: who reads where, and what their deaths, restarts and leader moves leave whole."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka.conn import AIOKafkaConnection
from tests.conftest import missing
from tests.functions.volume.inside import InsideVolume
from tests.support import brokers, buses, naming, waiting
from tests.support.records import make, numbered

from sixfold import Context, function, running
from sixfold.bus import open_bus, port
from sixfold.process import Process
from sixfold_events import Event, cloudevents
from sixfold_events.registry import Registry

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]
PARTITIONS = 4
MOVED_S = 60.0
"""How soon everything goes on after a broker went: its session (4 s), elections, and a busy machine."""


class Cluster(NamedTuple):
    """Three brokers, and where they keep their data."""

    bootstrap: str
    folder: Path


@pytest.fixture(scope="module")
def cluster3() -> Iterator[Cluster]:
    """Brokers of this module's own."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no brokers can be started for this test")
    with brokers.local_folder(3) as (bootstrap, folder):
        yield Cluster(bootstrap, folder)


@pytest.mark.parametrize("zone", ["a", "b", "c"])
async def test_a_consumer_reads_from_the_replica_in_its_zone(
    cluster3: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """SIXFOLD_ZONE: whoever leads the partition, records come from the broker whose rack that is."""
    monkeypatch.setenv("SIXFOLD_ZONE", zone)
    ports = [int(each.rpartition(":")[2]) for each in cluster3.bootstrap.split(",")]
    asked: list[int] = []
    send = AIOKafkaConnection.send

    def noting(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        if type(request).__name__.startswith("FetchRequest"):
            asked.append(self.port)
        return send(self, request, *arguments, **named)

    monkeypatch.setattr(AIOKafkaConnection, "send", noting)
    async with open_bus(f"kafka://{cluster3.bootstrap}", data_dir=tmp_path) as bus:
        topic = await make(bus, naming.Names()("t"), 3)  # each broker leads one
        async with bus.assign([port.TopicPartition(topic, number) for number in range(3)]) as consumer:
            for number in range(3):
                await numbered(bus, topic, 0, 10, partition=number)
            await waiting.collect(consumer, 30)
            goal = len(asked) + 6
            await waiting.eventually(lambda: len(asked) >= goal and len({*asked[-3:]}) == 1, "fetches go to one broker")
            assert asked[-1] == ports["abc".index(zone)]


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_is_published_is_compressed_as_set(
    cluster3: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Single records, big publishes and transactions: the log is much smaller than what went in, and reads the same."""
    monkeypatch.setenv("SIXFOLD_KAFKA_COMPRESSION", name)
    names = naming.Names()
    async with open_bus(f"kafka://{cluster3.bootstrap}", data_dir=tmp_path) as bus:
        topic, output = await make(bus, names("in")), await make(bus, names("out"))
        values = [b"%04d" % number + b"x" * 2000 for number in range(100)]
        await bus.publish([port.NewRecord(topic, value) for value in values])
        async with bus.subscribe(names("g"), [topic]) as consumer:
            found = await waiting.collect(consumer, 100)
            assert [record.value for record in found] == values
            await consumer.settle(
                records=[port.NewRecord(output, value) for value in values],
                offsets={port.TopicPartition(topic, 0): 100},
                atomic=True,
            )
        async with bus.assign([port.TopicPartition(output, 0)]) as consumer:
            assert [record.value for record in await waiting.collect(consumer, 100)] == values
    for each in (topic, output):
        sizes = [path.stat().st_size for path in cluster3.folder.glob(f"broker-*/data/{each}-0/*.log")]
        assert sizes
        assert max(sizes) < 50_000


class Counted(Event, type="cluster.counted", key="name"):
    """What goes in."""

    name: str
    number: int


class Summed(Event, type="cluster.summed", key="name"):
    """What comes out: how many of the name came so far."""

    name: str
    number: int
    times: int


class SummedOnce(Event, type="cluster.summed-once", key="name"):
    """The same, exactly once."""

    name: str
    number: int
    times: int


@function(on=Counted, emits=[Summed], name="cluster-sum", tables=["times"])
async def add(counted: Counted, ctx: Context) -> None:
    """Count in a table."""
    table = ctx.table("times")
    times = await table.get(counted.name, 0) + 1
    table.put(counted.name, times)
    ctx.emit(Summed(name=counted.name, number=counted.number, times=times))


@function(on=Counted, emits=[SummedOnce], name="cluster-sum-once", tables=["times"], delivery="exactly-once")
async def add_once(counted: Counted, ctx: Context) -> None:
    """Count in a table, in the transaction of what it emits."""
    table = ctx.table("times")
    times = await table.get(counted.name, 0) + 1
    table.put(counted.name, times)
    ctx.emit(SummedOnce(name=counted.name, number=counted.number, times=times))


class Load:
    """Publishes and appends until told to end, and knows what was acknowledged."""

    def __init__(self, bus: port.Bus) -> None:
        self._bus = bus
        self.numbers: list[int] = []
        self.appended: list[bytes] = []
        self.outputs: dict[str, list[Any]] = collections.defaultdict(list)
        self._ending = asyncio.Event()
        self._next = 0

    async def publish(self) -> None:
        """One event after the other, by four names."""
        while not self._ending.is_set():
            number, self._next = self._next, self._next + 1
            event = Counted(name=f"n{number % 4}", number=number)
            attributes = cloudevents.Attributes(
                id=str(number), type="cluster.counted", source="/test", time_ms=1415811600000
            )
            message = cloudevents.encode(event, attributes)
            record = port.NewRecord(message.topic, message.value, key=message.key, headers=message.headers)
            await self._bus.publish([record])
            self.numbers.append(number)

    async def append(self, append: Callable[[list[bytes]], Awaitable[Any]]) -> None:
        """One record of the volume after the other."""
        while not self._ending.is_set():
            payload = b"%06d" % len(self.appended)
            await append([payload])
            self.appended.append(payload)

    async def read(self, topic: str, registry: Registry) -> None:
        """What the functions say, for ever."""
        places = [port.TopicPartition(topic, number) for number in range(PARTITIONS)]
        async with self._bus.assign(places) as consumer:
            while True:
                for records in (await consumer.fetch(wait_s=0.2)).values():
                    self.outputs[topic] += [registry.decode(each.value or b"", each.headers) for each in records]

    def end(self) -> None:
        """Publish and append no more."""
        self._ending.set()

    async def grown(self, by: int = 5) -> None:
        """Return once so much more went in and came out everywhere: nobody is stuck."""
        goals = {topic: len(found) + by for topic, found in self.outputs.items()}
        numbers, appended = len(self.numbers) + by, len(self.appended) + by

        def reached() -> bool:
            moved = all(len(self.outputs[topic]) >= goal for topic, goal in goals.items())
            return moved and len(self.numbers) >= numbers and len(self.appended) >= appended

        try:
            await waiting.eventually(reached, "publishing, both functions and the volume go on", MOVED_S)
        except AssertionError as error:
            now = {topic: len(found) for topic, found in self.outputs.items()}
            raise AssertionError(
                f"{error}: published {len(self.numbers)} of {numbers}, appended {len(self.appended)} of {appended}, "
                f"came out {now} of {goals}"
            ) from None


@contextlib.asynccontextmanager
async def tasks(*work: Any) -> AsyncIterator[None]:
    """Run `work` beside the block; an error of one is the block's."""
    async with asyncio.TaskGroup() as group:
        running_ = [group.create_task(each) for each in work]
        yield
        for each in running_:
            each.cancel()


async def test_brokers_that_die_restart_and_hand_over_lose_nothing_and_leave_nobody_stuck(
    cluster3: Cluster, tmp_path: Path
) -> None:
    """Under load: kill -9 of one broker and its return, an orderly restart of another, whose leaders move twice.

    Every acknowledged event was handled, by the exactly-once function once, whose table counted each once; every
    acknowledged record of the volume is read back.
    """
    place = buses.Place(f"kafka://{cluster3.bootstrap}", tmp_path)
    registry = Registry([Counted, Summed, SummedOnce])
    async with buses.open_bus(place) as bus:
        for event in (Counted, Summed, SummedOnce):
            await make(bus, event.__event__.topic, PARTITIONS)
        process = Process(name="cluster", data_dir=tmp_path, registry=registry, bus=bus)
        volume = InsideVolume(bus, tmp_path)
        load = Load(bus)
        load.outputs = {Summed.__event__.topic: [], SummedOnce.__event__.topic: []}
        working = running.run_functions(process, [add, add_once], stopping=process.stopping)
        try:
            await volume.start("a1", "a2", "b1", "b2", "c1", "c2")
            async with volume.writer() as writer:
                await writer.established()
                readers = [load.read(topic, registry) for topic in load.outputs]
                async with tasks(working, *readers):
                    async with asyncio.TaskGroup() as loading:
                        loading.create_task(load.publish())
                        loading.create_task(load.append(lambda some: writer.append(some, timeout_s=MOVED_S)))
                        await load.grown()
                        await asyncio.to_thread(brokers.kill_local, cluster3.folder, 1)
                        await load.grown()
                        await asyncio.to_thread(brokers.start_local, cluster3.folder, 3)
                        await load.grown()
                        await asyncio.to_thread(brokers.stop_local, cluster3.folder, 2)
                        await load.grown()
                        await asyncio.to_thread(brokers.start_local, cluster3.folder, 3)
                        await load.grown()
                        load.end()

                    def handled() -> bool:
                        wanted = set(load.numbers)
                        return all(wanted <= {each.number for each in found} for found in load.outputs.values())

                    await waiting.eventually(handled, "every acknowledged event is handled", MOVED_S)
                    process.stopping.set()
                async with volume.client() as client:
                    read = await client.read(1, len(load.appended) + 10, timeout_s=MOVED_S)
        finally:
            await volume.close()
    once = load.outputs[SummedOnce.__event__.topic]
    assert sorted(each.number for each in once) == sorted(load.numbers)
    for name in ("n0", "n1", "n2", "n3"):
        times = [each.times for each in once if each.name == name]
        assert times == list(range(1, len(times) + 1)), "a table that lost or repeated an update"
    assert read.payloads[: len(load.appended)] == load.appended
