"""Several processes on one bus, and what is left when its owner is killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.runtime.embedded import program
from tests.runtime.embedded.processes import Processes, owner_pid, until

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import settings
from sixfold.bus.embedded.client import EmbeddedBus

KILLS = 5


async def _read_all(
    folder: Path,
) -> tuple[list[str], dict[port.TopicPartition, port.Offsets], dict[port.TopicPartition, int]]:
    partitions = [port.TopicPartition(program.TOPIC, number) for number in range(program.PARTITIONS)]
    async with EmbeddedBus(folder, clock=clocks.SystemClock()) as bus, bus.assign(partitions) as consumer:
        ranges = {partition: await bus.offsets(partition) for partition in partitions}
        values: list[str] = []
        total = sum(found.end for found in ranges.values())
        while len(values) < total:
            for records in (await consumer.fetch(wait_s=5.0)).values():
                values += [record.value.decode() for record in records if record.value is not None]
        return values, ranges, await bus.committed(program.GROUP)


async def test_killing_the_owner_again_and_again_loses_nothing_acknowledged(processes: Processes, folder: Path) -> None:
    """What was acknowledged is stored once and only once, no offset goes back, and consumers go on by themselves."""
    for role in ("idle", "publish", "publish", "consume", "consume"):
        await processes.start(role)
    for _ in range(KILLS):
        before = len(processes.all_notes("acknowledged")), len(processes.all_notes("committed"))
        await until(
            lambda before=before: (
                len(processes.all_notes("acknowledged")) > before[0] + 20  # type: ignore[misc]
                and len(processes.all_notes("committed")) > before[1] + 5
            ),
            "publishers and consumers go on",
        )
        role, _ = await processes.kill_owner()
        await processes.start(role)
    await processes.stop("publish")
    acknowledged = [value for note in processes.all_notes("acknowledged") for value in note["acknowledged"]]
    values, ranges, committed = await _read_all(folder)
    assert not set(acknowledged) - set(values), "acknowledged, but lost"
    assert not [value for value, count in Counter(values).items() if count > 1], "stored twice by a retry"

    async with EmbeddedBus(folder, clock=clocks.SystemClock()) as bus:
        group, topics = program.GROUP, [program.TOPIC]
        clock = clocks.SystemClock()
        end = clock.monotonic() + 30
        while sum((await bus.lag(group, topics)).values()):
            assert clock.monotonic() < end, "the consumers did not go on to the end"
            await clock.sleep(0.02)
        committed = await bus.committed(group)
    assert committed == {partition: found.end for partition, found in ranges.items()}
    await processes.stop("consume", "idle")

    commits: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for note in processes.all_notes("committed"):
        partition, offset = note["committed"]
        commits[partition].append((note["at"], offset))
    for partition, found in commits.items():
        offsets = [offset for _, offset in sorted(found)]
        assert offsets == sorted(offsets), f"the committed offset of partition {partition} went back"


async def test_an_owner_that_closes_hands_over_without_a_word_lost(processes: Processes, folder: Path) -> None:
    """When the owner ends in order, another process serves at once and publishers notice nothing."""
    await processes.start("idle")
    await processes.start("publish")
    first = owner_pid(folder)
    await until(lambda: len(processes.all_notes("acknowledged")) > 5, "the publisher publishes")
    await processes.stop("idle")
    await until(lambda: owner_pid(folder) not in (None, first), "the publisher owns the bus")
    before = len(processes.all_notes("acknowledged"))
    await until(lambda: len(processes.all_notes("acknowledged")) > before + 5, "the publisher goes on")
    await processes.stop("publish")
    values, _, _ = await _read_all(folder)
    acknowledged = [value for note in processes.all_notes("acknowledged") for value in note["acknowledged"]]
    assert sorted(values) == sorted(acknowledged)


async def test_members_are_not_waited_for_when_all_processes_died(processes: Processes, folder: Path) -> None:
    """After a kill of every process the next member gets its partitions at once; while one lives, it is waited for."""
    patient = settings.Settings(takeover_grace_s=60.0)
    await processes.start("idle")
    await processes.start("consume")
    await processes.start("publish")
    await until(lambda: len(processes.all_notes("committed")) > 3, "the consumer consumes")
    processes.close()
    async with (
        EmbeddedBus(folder, clock=clocks.SystemClock(), settings=patient) as bus,
        bus.subscribe(program.GROUP, [program.TOPIC]) as consumer,
    ):
        await until(lambda: len(consumer.assignment()) == program.PARTITIONS, "the member has all partitions")


async def test_a_member_that_lives_keeps_its_partitions_through_a_takeover(processes: Processes, folder: Path) -> None:
    """A new member that is quicker with the new owner does not get what another member still holds."""
    await processes.start("idle")
    lost: list[port.TopicPartition] = []

    class Listener:
        async def on_assigned(self, partitions: Sequence[port.TopicPartition]) -> None:
            """Nothing to do."""

        async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
            lost.extend(partitions)

        async def on_lost(self, partitions: Sequence[port.TopicPartition]) -> None:
            lost.extend(partitions)

    async with (
        EmbeddedBus(folder, clock=clocks.SystemClock()) as bus,
        bus.subscribe(program.GROUP, [program.TOPIC], listener=Listener()) as consumer,
    ):
        await until(lambda: len(consumer.assignment()) == program.PARTITIONS, "the member has all partitions")
        held = consumer.assignment()
        await processes.kill_owner()
        await consumer.settle(offsets=dict.fromkeys(held, 0))
        assert consumer.assignment() == held
        assert lost == []
