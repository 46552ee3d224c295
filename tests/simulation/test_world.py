"""The protocol as a whole, under faults drawn from a seed: writers die, copies lose power, messages wait."""

from __future__ import annotations

import pytest
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import segments
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.quorum import Quorum

WEIGHTS = {
    "append": 8,
    "deliver": 24,
    "listen": 14,
    "lose": 1,
    "start": 3,
    "writer": 1,
    "tell": 2,
    "away": 4,
    "broker": 4,
    "swap": 1,
    "wipe": 1,
    "retain": 1,
}
JOINING_MAX = 2
"""With two copies emptied and four left, any three of them still meet every write quorum."""
LONG = 1_200
"""Steps of a run that is to lose something: about one in fifty does, of shorter ones hardly any."""


def run(seed: int, *, steps: int = 400, honest_disks: bool = True, quorum: Quorum | None = None) -> World:
    """A life of a volume; ends with everything healed and a new writer, whose volume is `world.final`."""
    size = (600, 4000, segments.SEGMENT_BYTES_MAX)[seed % 3]
    world = World(seed, honest_disks=honest_disks, quorum=quorum or Quorum(), segment_bytes_max=size)
    rng, writers = world.rng, [Writer(world, "w0")]
    settle(world, writers[0])
    world.unreliable = rng.choice([0.0, 0.02, 0.2])
    away: list[str] = []
    for step in range(steps):
        world.clock.seconds += rng.random() * 0.2
        writer = writers[-1] if rng.random() < 0.8 else rng.choice(writers)
        here = sorted(set(world.copies) - set(away))
        match rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]:
            case "append" if not writer.superseded:
                writer.append(rng.choice([1, 1, 2, 7]))
            case "deliver" if here:
                world.deliver(rng.choice(here), rng.choice([1, 2, 5, 50]))
            case "broker":
                for copy in away:
                    world.lose_tail(copy)
            case "away":
                away = sorted(rng.sample(layout.COPIES, rng.choice([0, 2, 3, 3])))
            case "listen" if not writer.superseded:
                writer.listen(rng.choice([3, 50, 1000]))
                writer.pump()
            case "lose" if len(world.copies) > 3:
                world.lose_power(rng.choice(sorted(world.copies)))
            case "start":
                for copy in sorted(set(layout.COPIES) - set(world.copies))[:1]:
                    world.start(copy)
            case "swap":  # the network turns over: those that were away are alone with a new writer
                away = sorted(set(layout.COPIES) - set(away))
                writers.append(Writer(world, f"w{step}"))
            case "writer":
                writers.append(Writer(world, f"w{step}"))
            case "wipe" if len(world.joining()) < JOINING_MAX:
                world.lose_disk(rng.choice(sorted(set(layout.COPIES) - world.joining())))
            case "retain":
                world.retain(rng.choice(layout.COPIES), rng.choice([0, 3, 30]))
            case "tell":
                writer.tell()
    world.unreliable = 0.0
    for copy in sorted(set(layout.COPIES) - set(world.copies)):
        world.start(copy)
    last = Writer(world, "last")
    settle(world, last)
    last.append()
    settle(world, last)
    world.final = last.durable()  # type: ignore[attr-defined]
    return world


@pytest.mark.parametrize("seed", range(60))
def test_nothing_acknowledged_is_lost_whatever_dies(seed: int) -> None:
    """What a client was told is durable stays readable, with the same bytes, through any recoveries."""
    world = run(seed)
    assert world.acknowledged, "the run acknowledged nothing, so it proves nothing"
    assert world.lost(world.final) == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_copies_are_level_and_equal_once_all_is_well(seed: int) -> None:
    """After faults have passed every copy counts and holds the same records up to the same LSN."""
    world = run(seed)
    assert world.joining() == set()
    lsns = {copy.node.prefix.complete_lsn for copy in world.copies.values()}
    assert len(lsns) == 1
    contents = {tuple(tuple(batch.payloads) for batch in world.batches(copy, 1, max(lsns))) for copy in layout.COPIES}
    assert len(contents) == 1


def test_the_faults_do_find_a_write_quorum_of_three() -> None:
    """Some runs lose acknowledged records if three copies are enough for a write, and not if it takes four."""

    def loses(seed: int, write: int) -> bool:
        try:
            world = run(seed, steps=LONG, quorum=Quorum(write=write))
        except (AssertionError, copies.DurableLostError):
            return True  # not even a writer could be established: the copies contradict each other
        return bool(world.lost(world.final))  # type: ignore[attr-defined]

    found = next((seed for seed in range(400) if loses(seed, 3)), None)
    assert found is not None
    assert not loses(found, 4)


def all_lose_power(*, honest_disks: bool) -> World:
    """Appends are acknowledged, then every copy loses power at once; a new writer reads the volume."""
    world = World(1, honest_disks=honest_disks)
    writer = Writer(world, "w")
    settle(world, writer)
    for _ in range(50):
        writer.append()
        world.deliver_all()
        writer.listen()
    assert len(world.acknowledged) == 50
    for copy in layout.COPIES:
        world.lose_power(copy)
        # The bus forgets as well: the six fsynced logs must be enough.
        world.partitions[copy].clear()
    for copy in layout.COPIES:
        world.start(copy)
        world.copies[copy].position = 0
    successor = Writer(world, "successor")
    settle(world, successor)
    world.final = successor.durable()  # type: ignore[attr-defined]
    return world


def test_what_was_acknowledged_survives_a_loss_of_power_everywhere() -> None:
    """Six copies lose every write that was not synced, and no acknowledged record is missing."""
    world = all_lose_power(honest_disks=True)
    assert world.lost(world.final) == {}  # type: ignore[attr-defined]


def test_the_same_loss_of_power_shows_a_loss_where_fdatasync_does_nothing() -> None:
    """The scenario does detect a segment log that acknowledges before its data is on the disk."""
    world = all_lose_power(honest_disks=False)
    assert world.lost(world.final)  # type: ignore[attr-defined]
