"""The contract: members are killed in the middle of their work. They run in processes of their own."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import buses, members, naming, waiting
from tests.support.records import contents, make, numbered, values

from sixfold.bus import port


async def test_what_a_killed_member_did_not_commit_is_delivered_again(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """At least once: committed records are not delivered again, all others are; the same name takes over at once."""
    topic, group = await make(bus, names("t")), names("g")
    partition = port.TopicPartition(topic, 0)
    await numbered(bus, topic, 0, 10)
    async with members.joined(place, group, [topic], member="worker") as member:
        assert (await member.fetch(10))[0] == list(range(10))
        await member.settle({partition: 4})
        await member.kill()
    async with bus.subscribe(group, [topic], member="worker") as consumer:
        assert values(await waiting.collect(consumer, 6, deadline_s=5)) == [4, 5, 6, 7, 8, 9]


async def test_the_partitions_of_a_killed_member_go_to_the_survivor(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """Nobody said goodbye, so the group finds out; then the survivor goes on at the committed offsets."""
    topic, group = await make(bus, names("t"), 4), names("g")
    for number in range(4):
        await numbered(bus, topic, 10 * number, 3, partition=number)
    async with members.joined(place, group, [topic]) as member:

        async def has_two() -> bool:
            return len(await member.call("assignment")) == 2

        async with bus.subscribe(group, [topic]) as survivor:
            await waiting.assigned(survivor, 2)
            await waiting.eventually(has_two, "the other has two partitions")
            taken = await member.call("assignment")
            await member.fetch(6)
            await member.settle({port.TopicPartition(topic, taken[0]): 3, port.TopicPartition(topic, taken[1]): 1})
            kept = survivor.assignment()
            await waiting.collect(survivor, 6)
            await survivor.settle(offsets=dict.fromkeys(kept, 3))
            await member.kill()
            await waiting.assigned(survivor, 4)
            found = values(await waiting.collect(survivor, 2))
            assert sorted(found) == [10 * taken[1] + 1, 10 * taken[1] + 2]


@pytest.mark.parametrize("atomic", [False, True])
async def test_state_survives_a_killed_member(
    place: buses.Place, bus: port.Bus, names: naming.Names, *, atomic: bool
) -> None:
    """A row that was settled is there for whoever takes the partition over, in another process."""
    topic, group = await make(bus, names("t"), 2), names("g")
    async with members.joined(place, group, [topic], member="worker") as member:

        async def has_both() -> bool:
            return bool(await member.call("assignment") == [0, 1])

        await waiting.eventually(has_both, "both partitions are the member's")
        for number in range(2):
            await member.settle(
                {port.TopicPartition(topic, number): 5},
                state=[("table", number, "key", f"value of {number}")],
                atomic=atomic,
            )
        await member.kill()
    async with bus.subscribe(group, [topic], member="worker") as consumer:
        await waiting.assigned(consumer, 2)
        for number in range(2):
            assert await consumer.state_scan("table", number) == [(b"key", b"value of %d" % number)]


async def test_a_member_killed_while_it_settles_atomically_leaves_all_or_nothing(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """Kill -9 at any moment, again and again: outputs, table and offsets always agree, and in the end all is done once."""
    topic, output, group = await make(bus, names("t")), await make(bus, names("out")), names("g")
    partition = port.TopicPartition(topic, 0)
    total = 0
    for kill_at in (40, 180, 300):
        await numbered(bus, topic, total, 150)
        total += 150
        async with members.joined(place, group, [topic], member="copier") as member:
            copying = asyncio.create_task(member.call("copy", output=output))

            async def reached(goal: int = kill_at) -> bool:
                return (await bus.committed(group)).get(partition, 0) >= goal

            await waiting.eventually(reached, f"{kill_at} records are copied")
            await member.kill()
            with pytest.raises(AssertionError, match="gone"):
                await copying
        async with bus.subscribe(group, [topic], member="copier") as consumer:
            await waiting.assigned(consumer, 1)
            done = (await bus.committed(group)).get(partition, 0)
            assert await contents(bus, output) == [b"%d" % i for i in range(done)]
            assert int(await consumer.state_get("count", 0, b"records") or b"0") == done
    assert done >= 300
