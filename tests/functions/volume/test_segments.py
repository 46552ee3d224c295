"""Segment logs and copies on a disk that tears, rots, fills up and fails."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulation.decoding import REAL as REGISTRY
from tests.simulation.keys import Keys
from tests.simulation.lossy import LossyDisk
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold.bus import port
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, segments
from sixfold_functions.volume.core import layout

FOLDER = Path("/volume/a1")


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"], autouse=True)
def keys(request: pytest.FixtureRequest) -> Iterator[Keys | None]:
    """Each test with logs in plain and encrypted; one process after the other has the same data keys."""
    global KEYS
    KEYS = Keys(1) if request.param else None
    yield KEYS
    KEYS = None


KEYS: Keys | None = None


def log(disk: disks.Disk, *, label: str = "copy a1", folder: Path = FOLDER, size: int = 1 << 20) -> segments.SegmentLog:
    keyring = KEYS.keyring() if KEYS else None
    return segments.SegmentLog(disk, folder, label=label, segment_bytes_max=size, keyring=keyring)


def kept(disk: disks.Disk, *, size: int = 1 << 20) -> list[int]:
    """Offsets of the entries that a fresh opening finds."""
    found = [entry.offset for _, frame in log(disk, size=size).replay() for entry in frame.entries]
    return [offset for offset in found if offset >= 0]


def write(to: segments.SegmentLog, *offsets: int) -> None:
    for offset in offsets:
        to.next_location()
        to.append([frames.Entry(frames.Kind.BATCH, offset, b"x" * 50)])


def opened(disk: disks.Disk, *, size: int = 1 << 20) -> segments.SegmentLog:
    made = log(disk, size=size)
    list(made.replay())
    return made


def starts(disk: LossyDisk, path: Path) -> list[int]:
    """Where the frames of a segment begin, and where the last one ends."""
    data, found = disk.open(path).read_at(0, disk.size(path)), [0]
    while (frame := frames.decode(data, found[-1])) is not None:
        found.append(found[-1] + frame.size)
    return found


def test_a_torn_tail_is_cut_and_what_is_appended_behind_it_is_kept() -> None:
    """The cut is synced before the next append, so a second crash finds a whole log."""
    for seed in range(50):
        disk = LossyDisk()
        first = opened(disk)
        write(first, 1, 2)
        disk.open(disk.segments()[0]).append(
            frames.encode(4, [frames.Entry(frames.Kind.BATCH, 3, b"y" * 50)])[: seed + 1]
        )
        second = opened(disk)
        write(second, 4)
        disk.lose_power(random.Random(seed))
        assert kept(disk) == [1, 2, 4]


def test_damage_in_the_middle_stops_the_copy_with_a_clear_message() -> None:
    """A valid frame after an invalid one means that fsynced data changed: the log does not open, and says what to do."""
    disk = LossyDisk()
    write(opened(disk), 1, 2, 3)
    path = disk.segments()[0]
    disk.damage(path, starts(disk, path)[2] + 40)
    with pytest.raises(files.LogDamagedError, match=r"expected frame 3 at byte \d+, found damaged bytes.*move .* away"):
        kept(disk)


def test_a_missing_or_foreign_file_is_refused() -> None:
    """A hole between segments, and another copy's folder."""
    disk = LossyDisk()
    write(opened(disk, size=100), 1, 2, 3)
    with pytest.raises(files.LogForeignError, match="belongs to copy a1, expected copy b1"):
        list(log(disk, label="copy b1").replay())
    del disk._inodes[str(disk.segments()[1])]
    with pytest.raises(files.LogDamagedError, match="a file is missing"):
        kept(disk)


def test_a_log_goes_on_in_new_files_that_survive_a_loss_of_power() -> None:
    """Files are created durably, name included, before anything in them counts."""
    disk = LossyDisk()
    write(opened(disk, size=200), *range(20))
    assert len(disk.segments()) > 3
    disk.lose_power(random.Random(1))
    assert kept(disk, size=200) == list(range(20))


def test_after_a_failed_fsync_nothing_is_written_any_more() -> None:
    """Nobody knows what the disk holds then; only a new start, which reads it back, may go on."""
    disk = LossyDisk()
    made = opened(disk)
    disk.sync_error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(files.LogFailedError, match="cannot be written"):
        write(made, 1)
    disk.sync_error = None
    with pytest.raises(files.LogFailedError, match="end the process"):
        write(made, 2)


@pytest.mark.parametrize("failures", [1, 2])
def test_what_a_failed_sync_left_readable_is_on_the_disk_before_the_next_process_counts_it(failures: int) -> None:
    """The kernel marks such pages clean, so a mere sync would not write them; after it, power may go."""
    made, writer = world()
    writer.append()
    made.deliver_all()
    writer.append(3)
    disk = made.disks["a1"]
    for _ in range(failures):
        disk.sync_errors = [OSError(errno.EIO, "Input/output error")]
        if "a1" in made.copies:
            made.deliver("a1")
        else:
            made.start("a1")
        assert "a1" not in made.copies
    made.start("a1")
    made.deliver("a1")
    assert made.copies["a1"].node.prefix.complete_lsn == 4
    made.lose_power("a1")
    made.start("a1")
    assert made.copies["a1"].node.prefix.complete_lsn == 4


def test_a_file_whose_name_was_not_synced_has_it_before_the_next_process_counts_it() -> None:
    """A new segment's process ended at the sync of the folder; the next one finds the file and must not lose it."""
    disk = LossyDisk()
    disk.sync_errors = [None, OSError(errno.EIO, "Input/output error")]
    with pytest.raises(files.LogFailedError, match="cannot be written"):
        opened(disk)
    again = opened(disk)
    again.write_tail_again()
    write(again, 1)
    disk.lose_power(random.Random(1))
    assert kept(disk) == [1]


def test_a_full_disk_is_named_and_harms_nothing_that_was_kept() -> None:
    """What was written before stays; after room was made the log goes on."""
    disk = LossyDisk()
    made = opened(disk)
    write(made, 1)
    disk.room_bytes = 30
    with pytest.raises(files.LogFullError, match="make room, then start it again"):
        write(made, 2)
    disk.room_bytes = None
    write(opened(disk), 3)
    assert kept(disk) == [1, 3]


def test_the_same_log_on_a_real_file_system(tmp_path: Path) -> None:
    """The operating system's files behave as the port says."""
    disk = disks.OsDisk()
    made = log(disk, folder=tmp_path / "deep" / "a1", size=200)
    assert list(made.replay()) == []
    write(made, *range(10))
    made.close()
    again = log(disk, folder=tmp_path / "deep" / "a1", size=200)
    places = [(location, frame) for location, frame in again.replay() if frame.entries[0].offset >= 0]
    assert [frame.entries[0].offset for _, frame in places] == list(range(10))
    assert [again.read(location) for location, _ in places] == [frame for _, frame in places]
    again.close()


def world() -> tuple[World, Writer]:
    made = World(5, encrypted=KEYS is not None)
    writer = Writer(made, "w")
    settle(made, writer)
    return made, writer


def test_a_batch_of_records_costs_one_fsync_and_gives_one_acknowledgement() -> None:
    """However many records a copy reads at once."""
    made, writer = world()
    for _ in range(7):
        writer.append()
    before, said = made.disks["a1"].syncs, len(made.acks)
    made.deliver("a1")
    assert made.disks["a1"].syncs == before + 1
    assert len(made.acks) == said + 1
    assert made.acks[-1].complete_lsn == 7


def test_a_copy_that_lost_its_tail_to_the_disk_does_not_vote() -> None:
    """Bit rot in the last frame looks like a torn write; the note of what was acknowledged tells them apart."""
    made, writer = world()
    writer.append()
    made.deliver_all()
    made.copies["a1"].close()
    disk = made.disks["a1"]
    disk.damage(disk.segments()[-1], disk.open(disk.segments()[-1]).size() - 3)
    with pytest.raises(copies.PromiseBrokenError, match="ends at LSN 0, but it had acknowledged LSN 1"):
        made.start("a1")


def test_a_folder_belongs_to_one_process() -> None:
    """A second process on the same copy is refused."""
    made, _ = world()
    with pytest.raises(copies.CopyInUseError, match="another process has /volume/a1"):
        made.start("a1")


def test_an_emptied_copy_reads_its_partition_anew_and_is_level_again() -> None:
    """The remedy that the messages name works."""
    made, writer = world()
    for _ in range(5):
        writer.append()
    settle(made, writer)
    made.copies["b2"].close()
    made.disks["b2"] = LossyDisk()
    made.clock.seconds += 1
    made.start("b2")
    settle(made, writer)
    assert {copy.node.prefix.complete_lsn for copy in made.copies.values()} == {5}


def test_rubbish_in_the_partition_does_not_stop_a_copy() -> None:
    """What is no redo event is passed over, and what follows counts."""
    made, writer = world()
    for value in (None, b"", b"\0\0\0\0\1rubbish"):
        made.partitions["a1"].append(
            port.Record(
                "volume.redo", 0, len(made.partitions["a1"]), 0, None, value, [("ce_type", b"volume.redo.batch")]
            )
        )
    writer.append()
    made.deliver("a1")
    assert made.acks[-1].complete_lsn == 1


def test_a_restarted_copy_says_what_it_said_before() -> None:
    """The log read back gives the same state, with a higher incarnation."""
    made, writer = world()
    for size in (1, 7, 2):
        writer.append(size)
        settle(made, writer, rounds=5)
    before = {copy: made.copies[copy].node.acknowledgement() for copy in layout.COPIES}
    for copy in layout.COPIES:
        made.copies[copy].close()
        made.start(copy)
        after = made.copies[copy].node.acknowledgement()
        assert after.incarnation > before[copy].incarnation
        for field in ("epoch", "log_epoch", "complete_lsn", "consistent_lsn", "settled_lsn", "append_offset", "writer"):
            assert getattr(after, field) == getattr(before[copy], field), field


def test_frames_of_every_kind_are_read_back() -> None:
    """Encoding and decoding are inverse, and a flipped bit anywhere is seen."""
    entries = [frames.Entry(kind, 7, bytes(range(kind))) for kind in frames.Kind]
    data = frames.encode(3, entries)
    frame = frames.decode(data)
    assert frame is not None
    assert (frame.sequence, frame.entries, frame.size) == (3, entries, len(data))
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        assert frames.decode(bytes(damaged)) is None
    assert REGISTRY.class_of("volume.redo.batch") is not None
