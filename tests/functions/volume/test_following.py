"""Read replicas on a volume of real services: what they apply, how they catch up, move on, and say where they read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.functions.volume import inside
from tests.functions.volume.faulty import FaultyBus
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold_functions.volume import topics
from sixfold_functions.volume.client import ReadPointLostError, ReplicaBehindError, VolumeReplica
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.replica import ConsistencyPoint


class Applied:
    """What a replica applied, in order."""

    def __init__(self) -> None:
        self.points: list[ConsistencyPoint] = []

    def __call__(self, point: ConsistencyPoint) -> None:
        self.points.append(point)

    @property
    def records(self) -> list[bytes]:
        return [record for point in self.points for record in point.records]


@contextlib.asynccontextmanager
async def following(
    volume: inside.InsideVolume, bus: port.Bus | FaultyBus | None = None, **given: Any
) -> AsyncIterator[tuple[VolumeReplica, Applied]]:
    """A replica and what it applied."""
    applied = Applied()
    given = {"apply": applied, **given}
    async with VolumeReplica(bus or volume.bus, registry=volume.registry, **given) as replica:
        yield replica, applied


async def test_a_replica_catches_up_from_a_log_and_then_follows(tmp_path: Path) -> None:
    """What was written before it came, an append of many batches, and what comes; each append is applied at once."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            for number in range(20):
                await writer.append([f"early {number}".encode()])
            large = [b"x" * 1000 for _ in range(2000)]
            await writer.append(large)
            async with following(volume, name="r1") as (replica, applied):
                await replica.reached(writer.durable_lsn, timeout_s=30.0)
                last = await writer.append([b"late", b"later"])
                assert await replica.reached(last.last_lsn, timeout_s=30.0) == last.last_lsn
                assert [len(point.records) for point in applied.points] == [*[1] * 20, 2000, 2]
                assert applied.records == [*(f"early {n}".encode() for n in range(20)), *large, b"late", b"later"]
                assert replica.read_point == last.last_lsn
                assert replica.lag.records == 0
                assert replica.lag.seconds is not None
            async with following(volume, start_lsn=last.last_lsn - 1) as (_, applied):
                await eventually(lambda: applied.records == [b"later"], "the rest of the last append comes")


async def test_a_quiet_volume_tells_its_replicas_at_once(tmp_path: Path) -> None:
    """One write, and nothing after it: it is announced, without a record to any of the copies."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.succeeded.wait()
            async with following(volume, start_lsn=None) as (replica, applied):
                told_before = writer.outlet.told_lsn
                wrote = await writer.append([b"one"])
                await replica.reached(wrote.last_lsn)
                assert applied.records == [b"one"]
                announced = await topics.last_records(volume.bus, layout.topics("default").durable, 1)
                event = volume.registry.decode(announced[0].value, announced[0].headers)
                assert event.durable_lsn == wrote.last_lsn  # type: ignore[attr-defined]
                assert event.durable_at_ms > 0  # type: ignore[attr-defined]
                assert told_before < wrote.last_lsn


async def test_a_replica_leaves_a_partition_that_falls_silent(tmp_path: Path) -> None:
    """Its broker is away while announcements go on: it follows another copy's, and lacks nothing."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        faulty = FaultyBus(volume.bus)
        async with volume.writer() as writer, following(volume, faulty, zone="b") as (replica, applied):
            assert replica.copy == "b1"
            await replica.reached((await writer.append([b"heard"])).last_lsn)
            faulty.silence(layout.topics("default").redo, ["b1"])
            wrote = await writer.append([b"not heard"])
            await replica.reached(wrote.last_lsn)  # announced, and read from a log
            await eventually(lambda: replica.copy == "b2", "another copy is followed")
            await replica.reached((await writer.append([b"heard again"])).last_lsn)
            assert applied.records == [b"heard", b"not heard", b"heard again"]


async def test_a_replica_begins_at_a_copy_that_answers(tmp_path: Path) -> None:
    """Of its own zone if one does; a copy that is down cannot serve what it lacks."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await volume.stop("b1")
            wrote = await writer.append([b"one"])
            for zone, copy in (("b", "b2"), ("c", "c1"), ("", "a1")):
                async with following(volume, zone=zone) as (replica, applied):
                    assert (replica.copy, replica.copies[-1], replica.answering) == (copy, "b1", 5)
                    await replica.reached(wrote.last_lsn)
                    assert applied.records == [b"one"]


async def test_what_apply_raises_ends_the_replica_and_whoever_waits_learns_it(tmp_path: Path) -> None:
    """Nothing behind the record is applied."""

    async def refuse(point: ConsistencyPoint) -> None:
        raise ArithmeticError(f"LSN {point.last_lsn}")

    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, following(volume, apply=refuse) as (replica, _):
            wrote = await writer.append([b"one"])
            with pytest.raises(ArithmeticError, match="LSN 1"):
                await replica.reached(wrote.last_lsn)
            with pytest.raises(ArithmeticError):
                await replica.ended()
            assert replica.read_point == 0


async def test_a_replica_that_does_not_reach_an_lsn_says_where_it_is(tmp_path: Path) -> None:
    """With what is durable for all that it knows."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, following(volume, name="r1") as (replica, _):
            await replica.reached((await writer.append([b"one"])).last_lsn)
            with pytest.raises(
                ReplicaBehindError, match=r"r1 has applied LSN 1 and not LSN 2 after 0.1 s \(1 is durable"
            ):
                await replica.reached(2, timeout_s=0.1)


async def test_the_writer_counts_where_its_replicas_read_and_they_hear_the_mark(tmp_path: Path) -> None:
    """A read that goes on holds the low-water mark; a reader that was not heard of for too long gets a clear error."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            counted = writer.read_points.points
            async with following(volume, name="r1") as (replica, _):
                await replica.reached((await writer.append([b"one"])).last_lsn)
                with replica.reading() as point, writer.read_points.reading(writer.durable_lsn):
                    await replica.reached((await writer.append([b"two"])).last_lsn)
                    assert point() == 1
                    await eventually(lambda: counted.readers().get("r1") == 1, "the writer counts the replica's read")
                    assert sorted(counted.readers().values()) == [1, 1]
                    writer.outlet.low_water = lambda durable_lsn: 2  # as if it had been silent for ten seconds
                    await writer.append([b"three"])
                    await eventually(lambda: replica.core.low_water_lsn == 2, "replicas hear of the mark")
                    with pytest.raises(ReadPointLostError, match=r"r1 reads at LSN 1, but .* states from LSN 2 on"):
                        point()
                await eventually(lambda: counted.readers() == {"r1": 3}, "the replica reads the newest state again")
            await eventually(lambda: not counted.readers(), "one that stops says so")


async def test_fifteen_replicas_follow_one_volume(tmp_path: Path) -> None:
    """As many as Aurora has; each has everything, and the status shows them all until they stop."""
    async with inside.opened(tmp_path) as volume, contextlib.AsyncExitStack() as stack:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, volume.client() as client:
            made = [
                await stack.enter_async_context(following(volume, name=f"r{number:02}", zone="abc"[number % 3]))
                for number in range(15)
            ]
            wrote = [await writer.append([b"%d" % number]) for number in range(10)][-1]
            for replica, applied in made:
                await replica.reached(wrote.last_lsn)
                assert applied.records == [b"%d" % number for number in range(10)]

            async def shown() -> bool:
                replicas = (await client.status()).replicas
                return {(each.replica, each.applied_lsn) for each in replicas} == {
                    (replica.name, wrote.last_lsn) for replica, _ in made
                }

            await eventually(shown, "all are shown")
            assert {each.copy for each in (await client.status()).replicas} == {"a1", "b1", "c1"}
            await stack.aclose()
            assert (await client.status()).replicas == []
