"""A copy's start and its memory do not grow with the volume: checkpoints, seals, the index of settled batches."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest
from tests.simulation.decoding import REAL as REGISTRY
from tests.simulation.keys import Keys
from tests.simulation.lossy import LossyDisk
from tests.simulation.test_world import run
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_events.volume import VolumeReadRequested
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, index, segments
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption.keyring import Keyring

A1 = Path("/volume/a1")


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"], autouse=True)
def encrypted(request: pytest.FixtureRequest) -> None:
    """Each test with segments in plain and encrypted."""
    global ENCRYPTED, SEGMENT_BYTES
    ENCRYPTED, SEGMENT_BYTES = request.param, 2500 if request.param else 1500


ENCRYPTED, SEGMENT_BYTES = False, 1500


def keyring() -> Keyring | None:
    """Of copy a1."""
    return Keys(3).keyring() if ENCRYPTED else None


def grown(appends: int = 300) -> World:
    """A volume of many small segments."""
    world = World(3, segment_bytes_max=SEGMENT_BYTES, encrypted=ENCRYPTED)
    writer = Writer(world, "w")
    settle(world, writer)
    for _ in range(appends):
        writer.append()
        world.deliver_all()
        writer.listen()
    settle(world, writer, rounds=3)
    return world


def restart(world: World, copy: str) -> None:
    world.copies[copy].close()
    world.start(copy)


def known(world: World, copy: str) -> tuple[object, list[index.Row], int]:
    """All that a copy knows, without what differs from start to start and what is only hearsay."""
    made = world.copies[copy]
    state = made.node.state()
    state = msgspec.structs.replace(state, incarnation=0, prefix=msgspec.structs.replace(state.prefix, seen_lsn=0))
    return state, list(made._index.between(1, 1 << 40)), made.position


def payloads(world: World, copy: str, first: int = 1, count: int = 1000) -> list[bytes]:
    """What a reader gets, who knows that all is durable."""
    made = world.copies[copy]
    request = VolumeReadRequested(
        volume="default",
        copy=copy,
        request_id="r",
        from_lsn=first,
        count=count,
        epoch=made.node.epoch,
        durable_lsn=1 << 40,
    )
    answer = made.answer(request)
    if answer.error:
        raise files.LogDamagedError(answer.error)
    return answer.payloads


def test_a_start_reads_the_newest_segment_only() -> None:
    """However many segments are sealed, of each only the seal is looked at."""
    world = grown()
    disk = world.disks["a1"]
    stored = sum(disk.size(path) for path in disk.segments())
    assert len(disk.segments()) > 20, disk.segments()
    world.copies["a1"].close()
    before = disk.read_bytes
    world.start("a1")
    assert disk.read_bytes - before < 3 * SEGMENT_BYTES + 100 * len(disk.segments()) < stored / 3
    assert payloads(world, "a1") == payloads(world, "b1")
    assert len(payloads(world, "a1")) == 300


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_from_its_checkpoint_is_the_same_as_one_from_its_whole_log(seed: int) -> None:
    """Whatever happened to it: state, index and position are equal, and so is what is made anew without the index."""
    world = run(seed)
    for copy in layout.COPIES:
        restart(world, copy)
        from_checkpoint = known(world, copy)
        world.copies[copy].close()
        world.disks[copy].lose(Path("/volume") / copy / "index")
        world.start(copy)
        assert known(world, copy) == from_checkpoint


def test_a_power_loss_at_the_beginning_of_a_segment_costs_nothing() -> None:
    """A torn first frame of the newest file is written again, from the segment before."""
    world = grown()
    disk = world.disks["a1"]
    before = known(world, "a1")
    while disk.size(disk.segments()[-1]) < SEGMENT_BYTES:
        restart(world, "a1")
    segment_count = len(disk.segments())
    restart(world, "a1")
    newest = disk.segments()[-1]
    assert len(disk.segments()) == segment_count + 1
    for size in (100, 10, 0):
        world.copies["a1"].close()
        disk.cut(newest, size)
        world.start("a1")
        assert known(world, "a1")[0] == before[0]
        assert payloads(world, "a1") == payloads(world, "b1")


def test_a_sealed_segment_that_lost_its_end_stops_the_copy() -> None:
    """Cut within a frame or between two, with or without its seal: the log is not whole, and says what to do."""
    for cut in (1, 41, 60, 300):
        world = grown()
        disk = world.disks["a1"]
        world.copies["a1"].close()
        path = disk.segments()[4]
        disk.cut(path, disk.size(path) - cut)
        with pytest.raises(files.LogDamagedError, match=r"00000005\.seg.*move /volume/a1 away"):
            world.start("a1")
    for keep in boundaries(disk, disk.segments()[7])[2:4]:
        world.copies["a1"].close()
        disk = grown_disk = grown().disks["a1"]
        disk.cut(disk.segments()[7], keep)
        with pytest.raises(files.LogDamagedError, match="which the next file does not follow; it was cut"):
            list(segments.SegmentLog(grown_disk, A1, label="copy a1 of volume default", keyring=keyring()).replay())


def boundaries(disk: LossyDisk, path: Path) -> list[int]:
    """Where the frames of a segment begin."""
    data = disk.open(path).read_at(0, disk.size(path))
    found = [0]
    while (frame := frames.decode(data, found[-1])) is not None:
        found.append(found[-1] + frame.size)
    return found[:-1]


def test_damage_in_a_sealed_segment_is_an_error_to_its_readers_and_stops_nobody() -> None:
    """The copy goes on and other records are read; whoever asks for the damaged ones is told."""
    world = grown()
    disk = world.disks["a1"]
    path = disk.segments()[4]
    disk.damage(path, boundaries(disk, path)[-3] + 50)  # the last is the seal
    restart(world, "a1")
    with pytest.raises(files.LogDamagedError, match=r"00000005\.seg: the frame at byte \d+ is damaged"):
        payloads(world, "a1")
    assert payloads(world, "a1", 200) == payloads(world, "b1", 200)


def test_a_damaged_index_is_named_and_made_anew_where_it_is_missing() -> None:
    """It is derived from the segments: nothing is lost with it."""
    world = grown()
    disk = world.disks["a1"]
    restart(world, "a1")
    disk.damage(A1 / "index", 100 * index.ROW_BYTES + 3)
    with pytest.raises(files.LogDamagedError, match=r"/volume/a1/index is damaged.*remove this file and start copy a1"):
        payloads(world, "a1", 100)
    for lose in (lambda path: disk.damage(path, disk.size(path) - 1), lambda path: disk.cut(path, 500), disk.remove):
        world.copies["a1"].close()
        lose(A1 / "index")
        world.start("a1")
        assert payloads(world, "a1", 100) == payloads(world, "b1", 100)


@pytest.mark.parametrize("encrypted", [False], indirect=True)
def test_a_log_without_checkpoints_and_seals_is_read_from_its_beginning() -> None:
    """Logs of the first version open, and what is appended to them has checkpoints."""
    world = grown(100)
    disk, old = world.disks["a1"], LossyDisk()
    sequence = 0
    for path in disk.segments():
        data = b""
        for start in boundaries(disk, path):
            frame = frames.decode(disk.open(path).read_at(0, disk.size(path)), start)
            assert frame is not None
            kinds = (frames.Kind.CHECKPOINT, frames.Kind.SEALED)
            if entries := [entry for entry in frame.entries if entry.kind not in kinds]:
                sequence += 1
                data += frames.encode(sequence, entries)
        old.write(path, data)
    before = known(world, "a1")
    world.copies["a1"].close()
    world.disks["a1"] = old
    for _ in range(3):
        world.start("a1")
        assert known(world, "a1")[::2] == before[::2]
        world.copies["a1"].close()
    while len(old.segments()) < len(disk.segments()) + 2:
        world.start("a1")
        world.copies["a1"].close()
    world.start("a1")
    assert known(world, "a1")[::2] == before[::2]
    assert payloads(world, "a1") == payloads(world, "b1")


def test_a_copy_has_few_files_open_and_little_in_memory(tmp_path: Path) -> None:
    """With hundreds of segments, and after all of them were read."""
    world = grown(10)
    made = copies.Copy(
        disks.OsDisk(),
        tmp_path,
        volume="default",
        name="a1",
        registry=REGISTRY,
        segment_bytes_max=SEGMENT_BYTES,
        keyring=keyring(),
    )
    made.open(1)
    world.copies["a1"] = made
    writer = Writer(world, "again")
    settle(world, writer)
    appends = 400 * SEGMENT_BYTES // 1500
    for _ in range(appends):
        writer.append(4)
        world.deliver_all()
        writer.listen()
    settle(world, writer, rounds=3)
    assert len(list(tmp_path.glob("*.seg"))) > 40
    assert len(payloads(world, "a1", count=5000)) == 10 + 4 * appends
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert len([link for link in links if link.startswith(str(tmp_path))]) <= files.OPEN_MAX + 3
    assert len(made.node.state().prefix.entries) <= 2
    assert len(made._index._tail) <= index.TAIL_ROWS_MAX
    made.close()


def test_the_index_survives_a_loss_of_power_up_to_the_last_checkpoint() -> None:
    """What was not synced is found again by reading the newest segment back."""
    for seed in range(10):
        world = grown(150 + seed)
        world.copies["a1"].close()
        world.disks["a1"].lose_power(random.Random(seed))
        before = world.disks["a1"].read_bytes
        world.start("a1")
        assert world.disks["a1"].read_bytes - before < 4 * SEGMENT_BYTES
        assert payloads(world, "a1") == payloads(world, "b1")
