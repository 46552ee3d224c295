"""Segments that nobody needs go, and nothing else; whatever a crash leaves, the next start goes on from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.functions.volume.collected import FOLDER, SEGMENT_BYTES, PagedVolume
from tests.simulation.lossy import LossyDisk

from sixfold_functions.volume import files, index
from sixfold_functions.volume.core import collection
from sixfold_functions.volume.core.prefix import End, Entry, PrefixState

NEEDS = collection.Needs(settled_lsn=90, low_water_lsn=80, held_lsn=70, layered_lsn=60, trimmed_lsn=50)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def volume(request: pytest.FixtureRequest) -> PagedVolume:
    """A volume that has collected garbage."""
    made = PagedVolume(encrypted=request.param)
    made.write()
    assert min(made.floor(copy) for copy in made.world.copies) > 100
    return made


# -- what may go -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "lsn"),
    [
        ({}, 60),
        ({"layered_lsn": 100}, 70),
        ({"layered_lsn": 100, "held_lsn": 100}, 80),
        ({"layered_lsn": 100, "held_lsn": 100, "low_water_lsn": 100}, 90),
        ({"layered_lsn": None}, 50),
        ({"layered_lsn": None, "trimmed_lsn": 0}, 0),
        ({"layered_lsn": None, "trimmed_lsn": 100}, 70),
    ],
)
def test_a_record_goes_once_none_of_those_who_need_it_does_any_more(changed: dict[str, int | None], lsn: int) -> None:
    """Recoveries, readers, backups, and what stands for it: its pages, or in a plain log its user's word."""
    assert collection.collectable_lsn(NEEDS._replace(**changed), 1) == lsn  # type: ignore[arg-type]


def test_a_log_beyond_its_limit_waits_for_no_backup_but_for_all_others() -> None:
    """A backup that is dead must not fill the disk, and what a reader or a page needs stays at any size."""
    needs = NEEDS._replace(held_lsn=0, layered_lsn=100)
    assert collection.collectable_lsn(needs, 1000, held_bytes_max=1000) == 0
    assert collection.collectable_lsn(needs, 1001, held_bytes_max=1000) == 80


def _entry(first: int, last: int) -> Entry[int]:
    return Entry(first, last, 1, 1, last, 0, 0)


def test_all_that_a_checkpoint_knows_lies_before_it() -> None:
    """What is settled, what is not, what waits for a new epoch, what lies beyond a gap."""
    state = PrefixState(End(5), [_entry(6, 9)], [], [], None, 99)
    assert collection.highest_lsn(state) == 9
    for each in ({"staged": [_entry(10, 12)]}, {"islands": [_entry(11, 12)]}, {"entries": [_entry(6, 12)]}):
        assert collection.highest_lsn(PrefixState(**{**_fields(state), **each})) == 12  # type: ignore[arg-type]


def _fields(state: PrefixState[int]) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__struct_fields__}


@pytest.mark.parametrize(("lsn", "kept"), [(0, 1), (9, 1), (10, 2), (29, 2), (30, 4), (40, 5), (1000, 5)])
def test_the_log_begins_with_a_segment_before_which_all_may_go(lsn: int, kept: int) -> None:
    """A checkpoint that cannot be read is passed over; the newest segment always stays."""
    highest: dict[int, int | None] = {2: 10, 3: None, 4: 30, 5: 40}
    assert collection.first_kept(1, 5, lsn, lambda segment: highest[segment]) == kept


# -- what goes ---------------------------------------------------------------------------------------------------------


def test_a_volume_that_changes_the_same_pages_again_and_again_takes_bounded_room() -> None:
    """Many times what its pages are; so do its index and its number of files."""
    made = PagedVolume()
    made.write(200)
    for _ in range(6):
        made.write(200)
        for copy in made.world.copies:
            assert made.bytes_of(copy) < 20 * SEGMENT_BYTES, copy
            assert len(made.world.disks[copy].segments()) < 12
            assert made.world.disks[copy].size(Path("/volume") / copy / "index") < 200 * index.ROW_BYTES
    assert made.is_level("a1")


@pytest.mark.parametrize("held_lsn", [0, 150])
def test_nothing_goes_that_a_backup_has_not_got(held_lsn: int) -> None:
    """Until the log is larger than a dead backup may hold it."""
    made = PagedVolume(held_lsn=held_lsn)
    made.write()
    assert 0 <= made.floor("a1") <= held_lsn
    collector = made.world.copies["a1"].collector
    collector.held_bytes_max = 4 * SEGMENT_BYTES
    made.write(5)
    assert made.floor("a1") > held_lsn >= made.floor("b1")


def test_reading_what_is_not_kept_is_an_error_that_says_what_to_do(volume: PagedVolume) -> None:
    """Whoever asks for records or for batches; what is kept is given."""
    floor_lsn = volume.floor("a1")
    answer = volume.how("a1", 1, 10)
    assert (answer.floor_lsn, answer.page_bytes, answer.batches) == (floor_lsn, 512, [])
    assert f"keeps records from LSN {floor_lsn + 1} on, and was asked for LSN 1" in answer.error
    assert "restore" in answer.error
    assert volume.how("a1", floor_lsn + 1, 10).batches


def test_a_start_begins_with_the_floor_and_the_index_can_be_made_anew(volume: PagedVolume) -> None:
    """From its checkpoint, and from all that is kept: the same records, pages and floor."""
    before = volume.records("a1"), volume.floor("a1")
    for lost in (None, FOLDER / "index"):
        volume.world.copies["a1"].close()
        if lost is not None:
            volume.world.disks["a1"].remove(lost)
        volume.world.start("a1")
        assert (volume.records("a1"), volume.floor("a1")) == before
        assert volume.is_level("a1")
    volume.write(50)
    assert volume.is_level("a1")


def test_a_segment_that_is_missing_above_the_floor_is_damage(volume: PagedVolume) -> None:
    """The file `floor` says which were given up; all others must be there."""
    volume.world.copies["a1"].close()
    disk = volume.world.disks["a1"]
    disk.lose(disk.segments()[0])
    with pytest.raises(files.LogDamagedError, match=r"expected segments \d+ to \d+, found .*; a file is missing"):
        volume.world.start("a1")


def test_a_torn_slot_of_the_floor_leaves_the_other(volume: PagedVolume) -> None:
    """Then the log begins where it began before: the segments are there until the newer one is synced."""
    floor_lsn = volume.floor("a1")
    volume.world.copies["a1"].close()
    path = FOLDER / "floor"
    for position in (3, 515):  # one of them is the newer
        data = volume.world.disks["a1"].open(path).read_at(0, 1024)
        volume.world.disks["a1"].damage(path, position)
        try:
            volume.world.start("a1")
            assert volume.floor("a1") == floor_lsn
        except files.LogDamagedError:  # the older one names segments that are gone by now: nothing is guessed
            pass
        volume.world.copies["a1"].close()
        volume.world.disks["a1"].write(path, data)
    volume.world.start("a1")
    assert volume.is_level("a1")


# -- crashes -----------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The machine is gone."""


def crashing(disk: LossyDisk, at: int) -> None:
    """Have the machine lose power before its operation number `at`."""
    left = at

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash

    disk.before = count


def crashes(work: Callable[[PagedVolume], None], *, operations: int) -> Iterator[PagedVolume]:
    """Volumes whose copy a1 lost power before each operation of `work` in turn, and was started again."""
    for at in range(1, operations + 1):
        made = PagedVolume(held_lsn=0)
        made.write(120)
        made.held_lsn = 1 << 40
        made.world.copies["a1"].node.held_lsn = 1 << 40
        disk = made.world.disks["a1"]
        crashing(disk, at)
        with pytest.raises(Crash):
            work(made)
        disk.before = lambda: None
        made.world.lose_power("a1")
        made.world.start("a1")
        yield made


def operations_of(work: Callable[[PagedVolume], None]) -> int:
    """How many there are."""
    made, count = PagedVolume(held_lsn=0), 0
    made.write(120)
    made.world.copies["a1"].node.held_lsn = 1 << 40

    def counted() -> None:
        nonlocal count
        count += 1

    made.world.disks["a1"].before = counted
    work(made)
    return count


def collect(made: PagedVolume) -> None:
    """All that copy a1 may let go."""
    assert made.world.copies["a1"].collector.collect()


def test_a_loss_of_power_at_any_point_of_a_collection_loses_nothing() -> None:
    """Before the floor is synced, while segments are removed, while the index gets a new file: each state goes on."""
    count = operations_of(collect)
    assert count > 8
    for made in crashes(collect, operations=count):
        made.write(3)
        assert made.is_level("a1")
        assert made.floor("a1") > 50
        held = [int(path.name[:8]) for path in made.world.disks["a1"].segments()]
        assert held == list(range(held[0], held[-1] + 1))
        assert made.bytes_of("a1") < made.bytes_of("b1") + 5 * SEGMENT_BYTES


def test_a_copy_whose_disk_is_full_lets_go_of_garbage_at_its_start() -> None:
    """Nothing of it needs room: it was stopped by the full disk, and goes on by itself."""
    made = PagedVolume()
    made.world.copies["a1"].collector.collect = lambda: False  # type: ignore[method-assign]
    made.write(200)
    disk = made.world.disks["a1"]
    assert len(disk.segments()) > 8
    disk.room_bytes = 0
    made.writer.append()
    made.world.deliver("a1")
    assert "a1" not in made.world.copies  # it ended
    disk.room_bytes = 0
    made.world.start("a1")
    assert len(disk.segments()) <= 3
    made.write(20)
    assert made.is_level("a1")
