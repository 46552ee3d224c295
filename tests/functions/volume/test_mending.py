"""Damage in full segments is found by reading them back and mended from other copies: files on a disk that rots."""

from __future__ import annotations

import random

import msgspec
import pytest
from tests.functions.volume import test_checkpoints as checkpoints
from tests.functions.volume.test_checkpoints import A1, boundaries, known, payloads, restart
from tests.simulation.world import World

from sixfold_events.volume import VolumeReadRequested
from sixfold_functions.volume import files, index, mending, scrubbing
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.mending import Damage, NotMendedError

PEERS = layout.COPIES[1:]
encrypted = checkpoints.encrypted
"""Each test with segments in plain and encrypted."""


def grown() -> World:
    """A volume of a dozen small segments and more."""
    return checkpoints.grown(150)


def read_back(world: World) -> scrubbing.Scrub:
    """A whole reading of a1's log."""
    scrub = scrubbing.Scrub(world.copies["a1"].mender(), scrubbing.Position())
    for _ in scrub.steps():
        pass
    return scrub


def fetched(world: World, mender: mending.Mender, wanted: mending.Wanted) -> bytes:
    for peer in PEERS:
        request = VolumeReadRequested(
            volume="default",
            copy=peer,
            request_id="r",
            from_lsn=wanted.first_lsn,
            count=wanted.last_lsn - wanted.first_lsn + 1,
            whole_batches=True,
        )
        answer = world.copies[peer].answer(request)
        for value, batch in zip(answer.batches, world.copies[peer].batches(answer), strict=True):
            if mender.agrees(wanted, answer, batch):
                return value
    raise AssertionError(f"no peer has {wanted}")


def mend(world: World, damage: Damage, *, steps: int | None = None) -> None:
    """As the scrubber does; only the first `steps` of the writing."""
    mender = world.copies["a1"].mender()
    batches = {each.place: fetched(world, mender, each) for step in mender.wanted(damage) for each in step}
    writing = mender.write(damage, mender.replacement(damage, batches))
    for number, _ in enumerate(writing):
        if number == steps:
            return


def without_lost(world: World) -> list[bytes]:
    return payloads(world, "a1", count=2000)


def test_a_log_that_is_whole_has_nothing_to_mend() -> None:
    """All is read once, in small steps, and the next reading goes on where this one was."""
    world = grown()
    mender = world.copies["a1"].mender()
    scrub = scrubbing.Scrub(mender, scrubbing.Position())
    total = scrub.total_bytes()
    assert sum(scrub.steps()) == total
    assert (scrub.damages, scrub.wrong_rows) == ([], [])
    assert scrub.position.segment == mender.log.newest + 1
    assert scrub.position.row == len(mender.rows)
    scrubbing.keep_position(mender, scrub.position)
    assert scrubbing.kept_position(mender) == scrub.position
    world.disks["a1"].cut(A1 / scrubbing.FILE, 3)
    assert scrubbing.kept_position(mender) == scrubbing.Position()


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_anywhere_in_a_full_segment_is_found_and_mended(seed: int) -> None:
    """Its readers get the same bytes again, places stay, a start and an index made anew find the same."""
    rng, world = random.Random(seed), grown()
    before, disk = known(world, "a1"), world.disks["a1"]
    path = rng.choice(disk.segments()[1:-1])
    starts = boundaries(disk, path)
    disk.damage(path, rng.randrange(starts[1], disk.size(path)))
    (damage,) = read_back(world).damages
    assert damage.start in starts
    mend(world, damage)
    scrub = read_back(world)
    assert (scrub.damages, scrub.wrong_rows) == ([], [])
    assert boundaries(disk, path) == starts
    assert without_lost(world) == payloads(world, "b1", count=2000)
    restart(world, "a1")
    assert known(world, "a1")[1:] == before[1:]
    world.copies["a1"].close()
    disk.lose(A1 / "index")
    world.start("a1")
    assert known(world, "a1")[1:] == before[1:]
    assert without_lost(world) == payloads(world, "b1", count=2000)


@pytest.mark.parametrize("seed", range(3))
def test_several_frames_in_a_row_are_mended_in_their_places(seed: int) -> None:
    """A whole stretch of a segment is gone, the seal included: as many frames with the same sequences come."""
    rng, world = random.Random(seed), grown()
    disk = world.disks["a1"]
    path = rng.choice(disk.segments()[4:-1])
    starts = [*boundaries(disk, path), disk.size(path)]
    first = rng.randrange(1, len(starts) - 2)
    last = len(starts) - 1 if seed % 2 else rng.randrange(first + 1, len(starts))
    for position in range(starts[first], starts[last], 3):
        disk.damage(path, position)
    (damage,) = read_back(world).damages
    assert (damage.start, damage.end) == (starts[first], starts[last])
    mend(world, damage)
    assert read_back(world).damages == []
    assert without_lost(world) == payloads(world, "b1", count=2000)
    restart(world, "a1")
    assert without_lost(world) == payloads(world, "b1", count=2000)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_loss_of_power_while_a_segment_is_mended_leaves_it_as_it_was(steps: int) -> None:
    """The new file has the name once it is whole and synced; what is left of an unfinished one is taken away."""
    world = grown()
    disk = world.disks["a1"]
    path = disk.segments()[5]
    disk.damage(path, boundaries(disk, path)[6] + 30)
    (damage,) = read_back(world).damages
    mend(world, damage, steps=None if steps else 0)
    world.lose_power("a1")
    world.start("a1")
    world.copies["a1"].mender().tidy()
    assert [name for name in disk.names(A1) if name.endswith(mending.NEW)] == []
    if not steps:
        assert read_back(world).damages == [damage]
        mend(world, damage)
    assert read_back(world).damages == []
    assert without_lost(world) == payloads(world, "b1", count=2000)


def test_a_batch_of_another_history_is_not_taken() -> None:
    """It must begin and end where the row says, be known to be durable, and its neighbours' epochs must fit."""
    world = grown()
    disk = world.disks["a1"]
    path = disk.segments()[5]
    disk.damage(path, boundaries(disk, path)[6] + 30)
    (damage,) = read_back(world).damages
    mender = world.copies["a1"].mender()
    (wanted,) = mending.wanted_of(mender.wanted(damage))
    request = VolumeReadRequested(
        volume="default", copy="b1", request_id="r", from_lsn=wanted.first_lsn, count=1, whole_batches=True
    )
    answer = world.copies["b1"].answer(request)
    (batch,) = world.copies["b1"].batches(answer)
    assert mender.agrees(wanted, answer, batch)
    replace = msgspec.structs.replace
    assert not mender.agrees(wanted, answer, replace(batch, payloads=[*batch.payloads, b"more"]))
    assert not mender.agrees(wanted, answer, replace(batch, backlink_epoch=batch.backlink_epoch + 1))
    assert not mender.agrees(wanted, answer, replace(batch, origin_epoch=batch.origin_epoch + 1))
    behind = replace(answer, status=replace(answer.status, settled_lsn=wanted.last_lsn - 1))
    assert not mender.agrees(wanted, behind, batch)


def test_rows_of_the_index_are_written_anew_from_the_segments() -> None:
    """One, several in a row, the first and the last; the copy goes on meanwhile."""
    world = grown()
    disk = world.disks["a1"]
    restart(world, "a1")  # so that rows are in the file
    mender = world.copies["a1"].mender()
    mender.rows.sync()
    before = known(world, "a1")[1]
    for numbers in ([0], [50], [70, 71, 72], [len(before) - 1]):
        for number in numbers:
            disk.damage(A1 / "index", number * index.ROW_BYTES + 3)
        scrub = read_back(world)
        assert scrub.wrong_rows == numbers
        for _ in scrubbing.repaired_rows(mender, scrub.wrong_rows):
            pass
        assert scrub.wrong_rows == []
        assert known(world, "a1")[1] == before
    assert read_back(world).wrong_rows == []


def test_a_row_that_points_to_another_batch_is_found() -> None:
    """Its CRC is right and what it says is not."""
    world = grown()
    restart(world, "a1")
    mender = world.copies["a1"].mender()
    mender.rows.sync()
    right, other = mender.rows.row(50), mender.rows.row(51)
    assert right is not None
    assert other is not None
    mender.rows.mend(50, right._replace(place=other.place))
    scrub = read_back(world)
    assert scrub.wrong_rows == [50]
    list(scrubbing.repaired_rows(mender, scrub.wrong_rows))
    assert mender.rows.row(50) == right


def test_a_segment_whose_beginning_is_damaged_is_mended_in_plain_only() -> None:
    """In an encrypted one its key is gone: the message says what to do."""
    world = grown()
    disk = world.disks["a1"]
    path = disk.segments()[5]
    disk.damage(path, 30)
    damage = read_back(world).damages[0]
    assert damage.start == 0
    if world.keys:
        with pytest.raises((NotMendedError, files.LogDamagedError)):
            mend(world, damage)
        return
    mend(world, damage)
    assert read_back(world).damages == []
    restart(world, "a1")
    assert without_lost(world) == payloads(world, "b1", count=2000)
