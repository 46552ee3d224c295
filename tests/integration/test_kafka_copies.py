"""Copies of tables that outlive their process: a member reads only what is new, and never trusts what may be wrong."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support import brokers, buses, disks, members, naming, waiting
from tests.support.records import make

import sixfold.bus
from sixfold.bus import ends, port
from sixfold.bus.kafka import changelogs, copies

pytestmark = pytest.mark.kafka


class Counting:
    """Members of one group on several machines, each with the data folder of its own, and a table that they fill."""

    def __init__(self, cluster: buses.Place, group: str, topic: str) -> None:
        self._cluster = cluster
        self.group = group
        self._topic = topic
        self.changelog = port.TopicPartition(changelogs.topic_of(group, "table"), 0)

    def folder(self, machine: str) -> Path:
        """Its data folder."""
        return self._cluster.data_dir / machine

    @contextlib.asynccontextmanager
    async def member(self, machine: str, *, short: bool = False) -> AsyncIterator[port.Consumer]:
        """The group's member, as in production, or with `short` with the tests' short intervals."""
        folder = self.folder(machine)
        opening = (
            buses.open_bus(buses.Place(self._cluster.url, folder))
            if short
            else sixfold.bus.open_bus(self._cluster.url, data_dir=folder)
        )
        async with opening as bus, bus.subscribe(self.group, [self._topic]) as consumer:
            await waiting.assigned(consumer, 1)
            yield consumer

    async def put(self, consumer: port.Consumer, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Settle rows."""
        await consumer.settle(
            state={("table", 0): rows},
            offsets={port.TopicPartition(self._topic, 0): offset},
        )

    async def restored(self, machine: str) -> tuple[int, dict[bytes, bytes]]:
        """How many rows a member there reads from the changelog, and the table as it then is."""
        with capture_logs() as logs:
            async with self.member(machine) as consumer:
                table = dict(await consumer.state_scan("table", 0))
        return sum(log["rows"] for log in logs if log.get("action") == "tables.restored"), table


@pytest.fixture
async def counting(cluster: buses.Place, kafka: port.Bus, names: naming.Names) -> Counting:
    """A group with forty rows, of which machine `one` has a copy."""
    found = Counting(cluster, names("g"), await make(kafka, names("t")))
    async with found.member("one") as consumer:
        await found.put(consumer, FORTY, 1)
    return found


FORTY: dict[bytes, bytes | None] = {b"%02d" % number: b"old" for number in range(40)}


async def test_a_restart_reads_only_what_was_added_since(counting: Counting) -> None:
    """Nothing where nothing was; the tail where another machine had the partition meanwhile; all where there is no copy."""
    assert await counting.restored("one") == (0, FORTY)
    async with counting.member("two") as consumer:
        await counting.put(consumer, {b"00": b"new", b"01": None}, 2)
        await counting.put(consumer, {b"zz": b"new"}, 3)
    expected = {**FORTY, b"00": b"new", b"zz": b"new"}
    del expected[b"01"]
    assert await counting.restored("one") == (3, expected)
    assert await counting.restored("one") == (0, expected)
    assert await counting.restored("three") == (43, expected)


async def test_the_copy_of_a_killed_member_is_used_again(
    cluster: buses.Place, counting: Counting, names: naming.Names
) -> None:
    """kill -9 leaves it whole: the next process on the machine reads no more than what the dead one settled last."""
    place = buses.Place(cluster.url, counting.folder("one"))
    async with members.joined(place, counting.group, [names("t")], member="worker") as member:
        for offset in range(2, 12):
            await member.settle({port.TopicPartition(names("t"), 0): offset}, state=[("table", 0, "k", str(offset))])
        await member.kill()
    read, table = await counting.restored("one")
    assert table == {**FORTY, b"k": b"11"}
    assert read <= 10, "the forty were there"


async def test_members_of_one_machine_have_copies_of_their_own(counting: Counting, kafka: port.Bus) -> None:
    """A second one does not wait for the first one's file, nor change it; what they leave is taken up again."""
    async with counting.member("one") as consumer:
        partition = port.TopicPartition(next(iter(consumer.assignment())).topic, 0)
        opening = sixfold.bus.open_bus(kafka.url, data_dir=counting.folder("one"))
        async with opening as bus, bus.assign([partition], group=counting.group) as reader:
            assert dict(await reader.state_scan("table", 0)) == FORTY
            await counting.put(consumer, {b"00": b"new"}, 2)
            assert await reader.state_get("table", 0, b"00") == b"old"
    assert len(list((counting.folder("one") / copies.FOLDER).glob("*.lmdb"))) == 2
    assert await counting.restored("one") == (0, {**FORTY, b"00": b"new"})


async def test_the_copy_of_a_topic_that_was_made_again_is_not_used(counting: Counting, kafka: port.Bus) -> None:
    """The new one has as many offsets as the old one had, and other rows: only those are there."""
    await kafka.delete_topic(counting.changelog.topic)
    other: dict[bytes, bytes | None] = {b"n%02d" % number: b"x" for number in range(60)}
    async with counting.member("two") as consumer:
        await counting.put(consumer, other, 1)
    assert await counting.restored("one") == (60, other)


async def test_a_copy_that_missed_tombstones_is_not_used(counting: Counting, kafka: port.Bus) -> None:
    """A row was deleted and compaction took the tombstone, too, while the machine was away: the row does not come back."""
    async with counting.member("two", short=True) as consumer:
        await counting.put(consumer, {b"00": None}, 2)

        async def gone() -> bool:
            await counting.put(consumer, {b"tick": b"x"}, 2)
            async with kafka.assign([counting.changelog]) as reader:
                batches = ends.read_up_to(reader, await ends.of(kafka, [counting.changelog]))
                return b"00" not in [record.key async for batch in batches for record in batch]

        # Made with a production's intervals, so compaction is told to hurry.
        hurried = {"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "500"}
        await brokers.configure(kafka.url, counting.changelog.topic, {"cleanup.policy": "compact", **hurried})
        await waiting.eventually(gone, "the tombstone is gone", 60)
    async with counting.member("one", short=True) as consumer:
        assert await consumer.state_get("table", 0, b"00") is None
        assert await consumer.state_get("table", 0, b"39") == b"old"


@pytest.mark.parametrize("harm", ["another boot", "garbage"])
async def test_a_file_that_cannot_be_trusted_is_made_anew(counting: Counting, harm: str) -> None:
    """After a power loss it may hold anything, as nothing of it was synced: the tables are restored from the changelog."""
    (file,) = (counting.folder("one") / copies.FOLDER).glob("*.lmdb")
    if harm == "garbage":
        file.write_bytes(b"no database " * 1000)
    else:
        lock = file.with_suffix(".lock")
        lock.write_text(lock.read_text() + " earlier")
    assert await counting.restored("one") == (40, FORTY)
    assert await counting.restored("one") == (0, FORTY)


async def test_a_full_disk_under_the_copies_is_said_and_nothing_is_lost(counting: Counting, kafka: port.Bus) -> None:
    """BusUnavailableError, and no reads that miss what was stored; once there is room the member goes on by itself."""
    with disks.small(counting.folder("small"), size="1m") as folder:
        async with counting.member("small") as consumer:
            await counting.put(consumer, {b"00": b"1"}, 2)
            disks.fill(folder / "ballast")
            last = 0

            async def until_full() -> None:
                nonlocal last
                for last in range(1, 1_000):  # what the disk did not take shows at the next commit
                    await counting.put(consumer, {b"00": b"%d" % last + bytes(10_000)}, 2 + last)

            with pytest.raises(port.BusUnavailableError, match=str(folder)):
                await until_full()
            with pytest.raises((port.BusUnavailableError, port.FencedError)):
                await consumer.state_get("table", 0, b"00")
            (folder / "ballast").unlink()

            async def healed() -> bool:
                await consumer.fetch(wait_s=0.1)
                with contextlib.suppress(port.BusUnavailableError, port.FencedError):
                    return await consumer.state_get("table", 0, b"00") is not None
                return False

            await waiting.eventually(healed, "the tables are restored")
            found = await consumer.state_get("table", 0, b"00")
            assert found is not None
            assert int(found.rstrip(b"\0")) == last
