"""The contract: members of a group share its partitions, and rebalance when one comes, goes or is too slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.support import naming, waiting
from tests.support.records import make, numbered, values

from sixfold.bus import port


class Recorder:
    """A listener that notes what it is told; `hold` keeps on_revoked from returning."""

    def __init__(self) -> None:
        self.told: list[tuple[str, frozenset[int]]] = []
        self.hold: asyncio.Event | None = None
        self.revoking = asyncio.Event()
        self.returned = asyncio.Event()

    async def on_assigned(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.told.append(("assigned", frozenset(partition.partition for partition in partitions)))

    async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.told.append(("revoked", frozenset(partition.partition for partition in partitions)))
        self.revoking.set()
        if self.hold is not None:
            await self.hold.wait()
        self.returned.set()

    async def on_lost(self, partitions: Sequence[port.TopicPartition]) -> None:
        self.told.append(("lost", frozenset(partition.partition for partition in partitions)))


async def shared(consumers: Sequence[port.Consumer], topic: str, partitions: int) -> list[frozenset[int]]:
    """The partition numbers of each consumer, once together they have all of them and each has some."""
    every = {port.TopicPartition(topic, number) for number in range(partitions)}

    def settled() -> bool:
        parts = [consumer.assignment() for consumer in consumers]
        return all(parts) and sum(map(len, parts)) == partitions and frozenset().union(*parts) == every

    await waiting.eventually(settled, f"{len(consumers)} members share {partitions} partitions")
    return [frozenset(partition.partition for partition in consumer.assignment()) for consumer in consumers]


async def test_two_members_share_the_partitions_and_each_record_is_read_once(
    bus: port.Bus, names: naming.Names
) -> None:
    """Every partition belongs to one member; together they read everything, nothing twice."""
    topic = await make(bus, names("t"), 4)
    async with bus.subscribe(names("g"), [topic]) as one, bus.subscribe(names("g"), [topic]) as two:
        parts = await shared([one, two], topic, 4)
        assert not parts[0] & parts[1]
        await bus.publish([port.NewRecord(topic, b"%d" % i, partition=i % 4) for i in range(40)])
        per = [10 * len(part) for part in parts]
        found = await asyncio.gather(waiting.collect(one, per[0]), waiting.collect(two, per[1]))
        assert sorted(values(found[0]) + values(found[1])) == list(range(40))
        assert [{record.partition for record in records} for records in found] == parts


async def test_a_member_that_joins_gets_its_share(bus: port.Bus, names: naming.Names) -> None:
    """A real rebalance: the first member is asked to give some up, and reads on what it keeps."""
    topic, listener = await make(bus, names("t"), 4), Recorder()
    async with bus.subscribe(names("g"), [topic], listener=listener) as one:
        await waiting.assigned(one, 4)
        async with bus.subscribe(names("g"), [topic]) as two:
            parts = await shared([one, two], topic, 4)
            assert sorted(map(len, parts)) == [2, 2]
            assert any(what == "revoked" and numbers >= parts[1] for what, numbers in listener.told)
            for number in range(4):
                await numbered(bus, topic, number, 1, partition=number)
            found = await asyncio.gather(waiting.collect(one, 2), waiting.collect(two, 2))
            assert [frozenset(values(records)) for records in found] == parts


async def test_a_member_that_leaves_hands_its_partitions_over_at_once(bus: port.Bus, names: naming.Names) -> None:
    """Closing a consumer is a goodbye: nobody waits for a session to expire, static membership or not."""
    topic = await make(bus, names("t"), 4)
    for member in (None, "stable"):
        async with bus.subscribe(names("g"), [topic]) as stays:
            async with bus.subscribe(names("g"), [topic], member=member) as leaves:
                await shared([stays, leaves], topic, 4)
            await waiting.assigned(stays, 4, deadline_s=5)


async def test_members_beyond_the_partitions_wait_and_step_in(bus: port.Bus, names: naming.Names) -> None:
    """A third member of two partitions idles, and takes over when one leaves."""
    topic = await make(bus, names("t"), 2)
    members = [bus.subscribe(names("g"), [topic]) for _ in range(3)]
    for member in members:
        await member.__aenter__()
    await waiting.eventually(
        lambda: sorted(len(member.assignment()) for member in members) == [0, 1, 1], "one of three idles"
    )
    members.sort(key=lambda member: len(member.assignment()))
    idle, busy, other = members
    assert await idle.fetch(wait_s=0.2) == {}
    await busy.__aexit__(None, None, None)
    await shared([idle, other], topic, 2)
    await other.__aexit__(None, None, None)
    await waiting.assigned(idle, 2)
    await idle.__aexit__(None, None, None)


async def test_after_a_rebalance_a_partition_goes_on_at_its_committed_offset(
    bus: port.Bus, names: naming.Names
) -> None:
    """What was committed is not delivered again; what was read but not committed is."""
    topic = await make(bus, names("t"), 2)
    for number in range(2):
        await numbered(bus, topic, 100 * number, 6, partition=number)
    async with bus.subscribe(names("g"), [topic]) as one:
        assert len(await waiting.collect(one, 12)) == 12
        await one.settle(offsets={port.TopicPartition(topic, 0): 2, port.TopicPartition(topic, 1): 4})
    async with bus.subscribe(names("g"), [topic]) as one, bus.subscribe(names("g"), [topic]) as two:
        parts = await shared([one, two], topic, 2)
        expected = {0: [2, 3, 4, 5], 1: [104, 105]}
        for consumer, part in zip((one, two), parts, strict=True):
            (number,) = part
            assert values(await waiting.collect(consumer, len(expected[number])))[-2:] == expected[number][-2:]
    assert await bus.committed(names("g")) == {port.TopicPartition(topic, 0): 2, port.TopicPartition(topic, 1): 4}


async def test_on_revoked_ends_before_another_member_gets_the_partition(bus: port.Bus, names: naming.Names) -> None:
    """While the first member finishes its work, nobody else has its partitions; what it commits then counts."""
    topic, listener = await make(bus, names("t"), 2), Recorder()
    listener.hold = asyncio.Event()
    for number in range(2):
        await numbered(bus, topic, 10 * number, 5, partition=number)
    async with bus.subscribe(names("g"), [topic], listener=listener) as one:
        await waiting.collect(one, 10)
        two = bus.subscribe(names("g"), [topic])
        joining = asyncio.create_task(two.__aenter__())
        await asyncio.wait_for(listener.revoking.wait(), 20)
        (going,) = [numbers for what, numbers in listener.told if what == "revoked"]
        await one.settle(offsets={port.TopicPartition(topic, number): 3 for number in going})
        if joining.done():  # a back end may let members in before they get partitions
            assert await two.fetch(wait_s=0.3) == {}
        assert two.assignment() == frozenset()
        assert not listener.returned.is_set()
        listener.hold.set()
        await joining
        (moved,) = await waiting.assigned(two, 1)
        assert listener.returned.is_set()
        assert moved.partition in going
        assert values(await waiting.collect(two, 2)) == [10 * moved.partition + 3, 10 * moved.partition + 4]
        await two.__aexit__(None, None, None)


async def test_a_member_too_slow_to_give_up_loses_the_partition(bus: port.Bus, names: naming.Names) -> None:
    """After `revoke_timeout_s` the rebalance goes on without it; it is told, and whatever it settles is refused."""
    topic, listener = await make(bus, names("t"), 2), Recorder()
    listener.hold = asyncio.Event()
    slow = bus.subscribe(names("g"), [topic], listener=listener, revoke_timeout_s=0.5)
    async with slow:
        await waiting.assigned(slow, 2)
        async with bus.subscribe(names("g"), [topic]) as quick:
            (moved,) = await waiting.assigned(quick, 1)
            with pytest.raises(port.FencedError):
                await slow.settle(offsets={moved: 1})
            assert await bus.committed(names("g")) == {}
            listener.hold.set()

            def told() -> bool:
                return any(what == "lost" and moved.partition in numbers for what, numbers in listener.told)

            await waiting.eventually(told, "the slow one is told")


@pytest.mark.parametrize("atomic", [False, True])
async def test_settling_a_partition_that_moved_away_is_fenced_and_stores_nothing(
    bus: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """FencedError, and neither record nor row nor offset of the call exists."""
    topic, output = await make(bus, names("t"), 2), await make(bus, names("out"))
    async with bus.subscribe(names("g"), [topic]) as one:
        await waiting.assigned(one, 2)
        async with bus.subscribe(names("g"), [topic]) as two:
            parts = await shared([one, two], topic, 2)
            (moved,) = parts[1]
            with pytest.raises(port.FencedError):
                await one.settle(
                    records=[port.NewRecord(output, b"never")],
                    state={("table", moved): {b"key": b"never"}},
                    offsets={port.TopicPartition(topic, moved): 7},
                    atomic=atomic,
                )
            assert await two.state_get("table", moved, b"key") is None
    assert await bus.committed(names("g")) == {}
    assert await bus.offsets(port.TopicPartition(output, 0)) == (0, 0)


async def test_group_names_may_hold_any_text(bus: port.Bus, names: naming.Names) -> None:
    """Committed offsets and tables of a group whose name no topic could have."""
    topic, group = await make(bus, names("t")), names("größe: ключ/группа 😀")
    partition = port.TopicPartition(topic, 0)
    async with bus.subscribe(group, [topic]) as consumer:
        await waiting.assigned(consumer, 1)
        await consumer.settle(state={("table", 0): {b"k": b"v"}}, offsets={partition: 4})
    assert await bus.committed(group) == {partition: 4}
    async with bus.assign([partition], group=group) as consumer:
        assert await consumer.state_scan("table", 0) == [(b"k", b"v")]
