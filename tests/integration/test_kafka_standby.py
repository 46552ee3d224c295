"""Standby copies: who takes a partition over has its rows already, all but what came last, and never others than those."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterable, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support import buses, members, naming, waiting
from tests.support.records import make, numbered, of_changelogs

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import changelogs, copies, restoring, standby
from sixfold.bus.kafka import client as kafka_client
from sixfold.bus.kafka import settings as kafka_settings

pytestmark = pytest.mark.kafka
NEVER_S = 3600.0
OFTEN_S = 0.05
Logs = Iterable[MutableMapping[str, Any]]


class Clock(clocks.SystemClock):
    """The machine's clock, whose wall clock can be set ahead; it counts a standby's looks."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.looks = 0

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.looks += seconds == OFTEN_S
        await super().sleep(seconds)

    def now(self) -> float:
        """Wall-clock time."""
        return super().now() + self.ahead_s


class Two:
    """A group of two on two machines: `one` goes, the survivor takes over."""

    def __init__(self, cluster: buses.Place, group: str, topic: str) -> None:
        self.cluster = cluster
        self.group = group
        self.topic = topic
        self.clock = Clock()

    @contextlib.asynccontextmanager
    async def one(self, name: str = "one") -> AsyncIterator[port.Consumer]:
        """The member that goes, on another machine."""
        async with (
            buses.open_bus(buses.Place(self.cluster.url, self.cluster.data_dir / name)) as bus,
            bus.subscribe(self.group, [self.topic]) as consumer,
        ):
            yield consumer

    async def put(self, one: port.Consumer, number: int, keys: Sequence[int], value: bytes = b"old") -> None:
        """Settle rows there."""
        await one.settle(
            offsets={port.TopicPartition(self.topic, number): 1},
            state={("table", number): {b"%04d" % key: value for key in keys}},
        )

    @contextlib.asynccontextmanager
    async def survivor(self, *, standby: bool = True, standby_s: float = NEVER_S) -> AsyncIterator[port.Consumer]:
        """The other member, which holds one partition at first."""
        settings = kafka_settings.KafkaSettings(session_timeout_s=6.0, standby_s=standby_s)
        bus = kafka_client.KafkaBus(
            self.cluster.url.removeprefix("kafka://"),
            data_dir=self.cluster.data_dir / "survivor",
            clock=self.clock,
            settings=settings,
        )
        async with bus, bus.subscribe(self.group, [self.topic], standby=standby) as consumer:
            await waiting.assigned(consumer, 1)
            yield consumer

    async def looked_again(self) -> None:
        """Return once a standby has begun and ended a look."""
        looks = self.clock.looks
        await waiting.eventually(lambda: self.clock.looks >= looks + 2, "it has looked again")

    async def theirs(self, one: port.Consumer, consumer: port.Consumer) -> int:
        """The number that `one` has, once it has it."""

        def settled() -> frozenset[port.TopicPartition]:
            mine, others = consumer.assignment(), one.assignment()
            return others if len(mine) == len(others) == 1 and mine != others else frozenset()

        (partition,) = await waiting.eventually(settled, "each has a partition")
        return partition.partition


@pytest.fixture
async def two(cluster: buses.Place, kafka: port.Bus, names: naming.Names) -> Two:
    """Of a topic with two partitions."""
    return Two(cluster, names("g"), await make(kafka, names("t"), partitions=2))


def restored(logs: Logs, what: str = "tables") -> int:
    """Rows that were read, at takeovers or by standbys."""
    return sum(log["rows"] for log in logs if log.get("action") == f"{what}.restored")


@pytest.mark.parametrize("warm", [True, False])
async def test_a_takeover_reads_only_what_the_standby_had_not_yet(two: Two, *, warm: bool) -> None:
    """The member on another machine goes: three rows of 43 are read, and without a standby all that compaction left;
    either way the newest of each are there."""
    async with contextlib.AsyncExitStack() as staying:
        one = await staying.enter_async_context(two.one())
        for number in (0, 1):
            await two.put(one, number, range(40))
        with capture_logs() as before:
            async with two.survivor(standby=warm) as survivor:
                number = await two.theirs(one, survivor)
                if warm:
                    await waiting.eventually(lambda: restored(before, "standby") == 40, "the standby has all")
                    assert survivor.standby_lag == 0
                else:
                    assert survivor.standby_lag is None
                await two.put(one, number, [0, 1, 40], b"new")
                with capture_logs() as after:
                    await staying.aclose()
                    await waiting.assigned(survivor, 2)
                found = dict(await survivor.state_scan("table", number))
    assert restored(after) == 3 if warm else 41 <= restored(after) <= 43
    expected = {b"%04d" % key: b"old" for key in range(40)} | dict.fromkeys((b"0000", b"0001", b"0040"), b"new")
    assert found == expected


async def test_a_standby_is_never_behind_what_its_partition_reflects(
    two: Two, kafka: port.Bus, names: naming.Names
) -> None:
    """While one counts, settling output, row and offset together, another follows; after kill -9 amid that the count is
    that of the outputs, and of the offset at which the survivor goes on."""
    output = await make(kafka, names("out"))
    place = buses.Place(two.cluster.url, two.cluster.data_dir / "one")
    async with (
        members.joined(place, two.group, [two.topic]) as one,
        two.survivor(standby_s=OFTEN_S) as survivor,
    ):
        ((_, own),) = await waiting.assigned(survivor, 1)
        number = 1 - own
        await numbered(kafka, two.topic, 0, 2000, partition=number)
        copying = asyncio.create_task(one.call("copy", output=output))
        end = port.TopicPartition(output, 0)

        async def amid() -> bool:
            return (await kafka.offsets(end)).end > 200 and survivor.standby_lag is not None

        await waiting.eventually(amid, "some is counted")
        os.kill(one.pid, signal.SIGKILL)
        with pytest.raises(AssertionError, match="the member is gone"):
            await copying
        await waiting.assigned(survivor, 2)
        count = int(await survivor.state_get("count", number, b"records") or b"0")
        assert survivor.position(port.TopicPartition(two.topic, number)) == count
        async with kafka.assign([end]) as reader:
            assert len(await waiting.collect(reader, count)) == count < 2000
            assert not await reader.fetch(wait_s=0.5)


@pytest.mark.parametrize("hours", [0, 13])
async def test_a_standby_that_is_interrupted_in_the_middle_is_finished_by_the_takeover(
    two: Two, monkeypatch: pytest.MonkeyPatch, *, hours: int
) -> None:
    """It has stored a part when the owner goes: that part is not read again, and nothing is missing.

    Unless it began so long ago that compaction may have taken a tombstone of what it read first, however lately it stored.
    """
    monkeypatch.setattr(standby, "REST", 1e9)  # it rests for ever after its first batch
    read = restoring.Restorer.read

    async def late(restorer: restoring.Restorer, spans: restoring.Spans, watch: restoring.Watch) -> None:
        if watch.rest:
            two.clock.ahead_s = hours * 3600
        await read(restorer, spans, watch)

    monkeypatch.setattr(restoring.Restorer, "read", late)
    async with contextlib.AsyncExitStack() as staying:
        one = await staying.enter_async_context(two.one())
        for number in (0, 1):
            for first in range(0, 4000, 1000):
                await two.put(one, number, range(first, first + 1000))
        async with two.survivor() as survivor:
            number = await two.theirs(one, survivor)
            await waiting.eventually(lambda: 0 < (survivor.standby_lag or 0) <= 3100, "a part is copied")
            with capture_logs() as logs:
                await staying.aclose()
                await waiting.assigned(survivor, 2)
            assert len(await survivor.state_scan("table", number)) == 4000
    assert (3000 <= restored(logs) < 4000) if hours == 0 else (restored(logs) == 4000)


async def test_a_copy_that_lacks_nothing_for_a_day_goes_on_where_it_is(two: Two) -> None:
    """Nothing was written for long while the standby looked: it need not read everything again for the next row."""
    async with two.one() as one:
        for number in (0, 1):
            await two.put(one, number, range(40))
        with capture_logs() as logs:
            async with two.survivor(standby_s=OFTEN_S) as survivor:
                number = await two.theirs(one, survivor)
                await waiting.eventually(lambda: restored(logs, "standby") == 40, "it has all")
                for hours in range(2, 26, 2):
                    two.clock.ahead_s = hours * 3600
                    await two.looked_again()
                await two.put(one, number, [40])
                await waiting.eventually(lambda: restored(logs, "standby") > 40, "it has the new one")
    assert restored(logs, "standby") == 41


async def test_a_standby_follows_a_changelog_that_is_made_again(two: Two, kafka: port.Bus) -> None:
    """The new one has more offsets than the old one had, and other rows: a takeover finds only those."""
    spec = port.TopicSpec(
        name=changelogs.topic_of(two.group, "table"), partitions=2, cleanup=port.Cleanup.COMPACT, retention_ms=None
    )

    async def fill(number: int, word: str, count: int) -> None:
        rows = {("table", number): {b"%s%02d" % (word.encode(), key): b"x" for key in range(count)}}
        await kafka.publish(of_changelogs(two.group, rows, {port.TopicPartition(two.topic, number): 1}))

    await kafka.create_topics([spec])
    async with contextlib.AsyncExitStack() as staying:
        one = await staying.enter_async_context(two.one())
        with capture_logs() as logs:
            async with two.survivor(standby_s=OFTEN_S) as survivor:
                number = await two.theirs(one, survivor)
                await fill(number, "old", 40)
                await waiting.eventually(lambda: restored(logs, "standby") == 40, "it has the old ones")
                await kafka.delete_topic(spec.name)
                await kafka.create_topics([spec])
                await fill(number, "new", 60)
                # More than 100 where one look met the old topic first and then the new one's end: the next makes it good.
                await waiting.eventually(lambda: restored(logs, "standby") >= 100, "it has the new ones")
                await two.looked_again()
                await staying.aclose()
                await waiting.assigned(survivor, 2)
                found = dict(await survivor.state_scan("table", number))
    assert found == {b"new%02d" % key: b"x" for key in range(60)}
    assert restored(logs) == 0


async def test_a_standby_writes_to_no_copy_of_what_its_member_owns(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions come and go while both settle: what is stored in the background is always of another's number."""
    written: list[tuple[int, set[int]]] = []
    store = copies.Copies.store

    async with two.one() as one, two.survivor(standby_s=OFTEN_S) as survivor:

        def watched(kept: copies.Copies, topic: str, partition: int, *what: Any) -> None:
            task = asyncio.current_task()
            if task is not None and task.get_name().endswith(" standby"):
                written.append((partition, {each.partition for each in survivor.assignment()}))
            store(kept, topic, partition, *what)

        monkeypatch.setattr(copies.Copies, "store", watched)

        async def copied() -> bool:
            """Both settle, unless the group is about to agree anew; whether the one's rows were copied."""
            number, before = await two.theirs(one, survivor), len(written)
            row = {("table", 1 - number): {b"mine": b"%d" % before}}
            with contextlib.suppress(port.FencedError):
                await two.put(one, number, [before])
                await survivor.settle(state=row, offsets={port.TopicPartition(two.topic, 1 - number): 1})
                await two.looked_again()
            return len(written) > before

        for _ in range(3):
            await waiting.eventually(copied, "the one's rows are copied")
            async with two.one("third"):  # without a partition or in place of another
                pass
    assert not [each for each in written if each[0] in each[1]]
