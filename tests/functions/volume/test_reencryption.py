"""Segments written anew under a new data key, while the copy serves, whatever crashes."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
from tests.functions.volume.encrypted import (
    A1,
    LABEL,
    MARK,
    append,
    content,
    grown,
    log,
    restart,
    rewrite_all,
    rotate,
)
from tests.functions.volume.test_checkpoints import payloads
from tests.simulation.keys import Keys, data_key
from tests.simulation.lossy import LossyDisk
from tests.simulation.world import World

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, segments
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.rewriting import NoRoomError, Rewriter


def ids(disk: LossyDisk) -> list[str]:
    """The data key of each segment; empty for one in plain."""
    return [held.envelope.data_key_id if held.envelope else "" for held in inventory.segments(disk, A1)]


def test_what_was_plain_or_under_an_old_key_is_under_the_new_one_and_lies_where_it_lay() -> None:
    """Index, checkpoints and whoever reads meanwhile find everything; a start with the newest key alone opens all."""
    world = grown(encrypted=False)
    everything = payloads(world, "a1")
    world.keys["a1"] = Keys(3)
    world.copies["a1"].keyring.use(world.keys["a1"].made[0], reencrypt=False)  # the key service is there from now on
    append(world, 40, "encrypted")
    mixed = ids(world.disks["a1"])
    assert mixed[0] == ""
    assert mixed[-1] == data_key(0).id
    for _ in range(2):
        rotate(world)
        append(world, 5, "later")
        everything = payloads(world, "b1")
        newest = world.keys["a1"].made[-1]
        rewriter = world.copies["a1"].rewriter()
        for held in rewriter.stale():
            for _ in rewriter.rewrite(held.segment):
                assert payloads(world, "a1") == everything
        assert set(ids(world.disks["a1"])) == {newest.id}
        for copy_keys in (Keyring([newest]),):
            read = [
                entry for _, frame in log(world.disks["a1"], copy_keys).replay(whole=True) for entry in frame.entries
            ]
            assert sum(entry.kind is frames.Kind.BATCH for entry in read) >= len(everything)
        restart(world)
        assert payloads(world, "a1") == everything
        assert not any(MARK in data for data in content(world.disks["a1"]).values())


def test_without_the_index_everything_is_found_in_what_was_written_anew() -> None:
    """The segments are the truth, of frames or of chunks."""
    world = grown()
    rotate(world)
    rewrite_all(world)
    everything = payloads(world, "b1")
    world.copies["a1"].close()
    world.disks["a1"].lose(A1 / "index")
    restart(world)
    assert payloads(world, "a1") == everything


class CrashError(Exception):
    """The power goes at this call."""


class CrashingDisk:
    """As a LossyDisk whose n-th call that changes anything never happens; what is synced in a folder is counted too."""

    def __init__(self, disk: LossyDisk, calls: int) -> None:
        self._disk = disk
        self.left = calls

    def _count(self) -> None:
        if self.left == 0:
            raise CrashError
        self.left -= 1

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)

    def open(self, path: Path, *, create: bool = False) -> object:
        if create:
            self._count()
        return CrashingFile(self, self._disk.open(path, create=create))

    def rename(self, path: Path, target: Path) -> None:
        self._count()
        self._disk.rename(path, target)

    def remove(self, path: Path) -> None:
        self._count()
        self._disk.remove(path)

    def sync_folder(self, path: Path) -> None:
        self._count()
        self._disk.sync_folder(path)


class CrashingFile:
    def __init__(self, disk: CrashingDisk, file: disks.File) -> None:
        self._disk = disk
        self._file = file

    def __getattr__(self, name: str) -> object:
        if name in ("append", "write_at", "truncate", "fdatasync"):
            self._disk._count()
        return getattr(self._file, name)


def written(keyring: Keyring | None) -> LossyDisk:
    """Some full segments of one log, and the newest."""
    disk = LossyDisk()
    made = log(disk, keyring, size=700)
    list(made.replay())
    for number in range(6):
        made.next_location()
        made.append([frames.Entry(frames.Kind.BATCH, number, MARK * 20)])
    disk.sync_folder(A1)
    return disk


def started(disk: disks.Disk, keyring: Keyring) -> tuple[segments.SegmentLog, list[frames.Entry]]:
    """The log, and all that is in it."""
    made = log(disk, keyring, size=700)
    entries = [entry for _, frame in made.replay(whole=True) for entry in frame.entries]
    return made, [entry for entry in entries if entry.kind is frames.Kind.BATCH]


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power lost"])
@pytest.mark.parametrize("plain", [False, True], ids=["under an old key", "plain"])
def test_a_crash_at_any_call_of_rewriting_loses_nothing_and_the_next_start_finishes(plain: bool, power: bool) -> None:
    """At the n-th change of the disk, for every n, by kill -9 or a loss of power; the wish itself survives as well."""
    keys, calls, crashed = Keys(3), 0, True
    before = written(None if plain else keys.keyring())
    old = keys.made[0]
    new = keys.fresh()
    while crashed:
        disk, crashed = copy.deepcopy(before), False
        keyring = Keyring([old], current=None if plain else old)
        made, everything = started(CrashingDisk(disk, calls), keyring)  # type: ignore[arg-type]
        assert len(everything) == 6
        try:
            keyring.use(new, reencrypt=True)
            made.roll()
            rewriter = Rewriter(made._disk, A1, made, label=LABEL, keyring=keyring)
            for held in rewriter.stale():
                list(rewriter.rewrite(held.segment))
        except CrashError:
            crashed = True
            if power:
                disk.lose_power(random.Random(calls))
        newest = inventory.segments(disk, A1)[-1]
        if newest.envelope is None or newest.envelope.data_key != new.blob:
            calls += 1
            continue  # the rotation was not finished, so it was not answered
        keyring = Keyring([old], current=new, reencrypt=newest.reencrypt)
        made, found = started(disk, keyring)
        assert found == everything
        rewriter = Rewriter(disk, A1, made, label=LABEL, keyring=keyring)
        rewriter.tidy()
        for held in rewriter.stale():
            list(rewriter.rewrite(held.segment))
        assert not [name for name in disk.names(A1) if name.endswith(".new")]
        assert set(ids(disk)) == {new.id}
        assert started(disk, Keyring([new]))[1] == everything
        calls += 1
    assert calls > 20


def test_a_full_disk_stops_rewriting_and_harms_nothing() -> None:
    """There is no room for a second file: the old one stays, the new one is taken away."""
    world = grown()
    rotate(world)
    everything, before = payloads(world, "a1"), ids(world.disks["a1"])
    world.disks["a1"].room_bytes = 2000
    with pytest.raises(NoRoomError, match="no room in /volume/a1 to write segment 1 anew"):
        rewrite_all(world)
    world.disks["a1"].room_bytes = None
    assert ids(world.disks["a1"]) == before
    assert not [name for name in world.disks["a1"].names(A1) if name.endswith(".new")]
    assert payloads(world, "a1") == everything
    rewrite_all(world)
    assert payloads(world, "a1") == everything


def test_a_damaged_segment_is_named_and_stays_as_it_is(full: World) -> None:
    """Written anew it would look whole; other segments are written all the same."""
    disk = full.disks["a1"]
    path = disk.segments()[1]
    disk.damage(path, disk.size(path) // 2)
    rotate(full)
    before = disk.open(path).read_at(0, 1 << 20)
    rewriter = full.copies["a1"].rewriter()
    for held in rewriter.stale():
        if held.segment == 2:
            with pytest.raises(
                files.LogDamagedError, match=r"00000002\.seg: .* stays as it is, under its old data key"
            ):
                list(rewriter.rewrite(2))
        else:
            list(rewriter.rewrite(held.segment))
    assert disk.open(path).read_at(0, 1 << 20) == before
    assert [held.segment for held in rewriter.stale()] == [2]


def test_on_a_real_file_system(tmp_path: Path) -> None:
    """The same with the operating system's files."""
    disk, keys = disks.OsDisk(), Keys(1)
    keyring = keys.keyring()
    made = segments.SegmentLog(disk, tmp_path, label=LABEL, segment_bytes_max=300, keyring=keyring)
    list(made.replay())
    places = []
    for number in range(20):
        places.append(made.next_location())
        made.append([frames.Entry(frames.Kind.BATCH, number, MARK * 10)])
    keyring.use(keys.fresh(), reencrypt=True)
    made.roll()
    rewriter = Rewriter(disk, tmp_path, made, label=LABEL, keyring=keyring)
    stale = rewriter.stale()
    assert len(stale) > 5
    for held in stale:
        list(rewriter.rewrite(held.segment))
    assert [made.read(place).entries[0].offset for place in places] == list(range(20))
    made.close()
    again = segments.SegmentLog(disk, tmp_path, label=LABEL, segment_bytes_max=300, keyring=Keyring([keys.made[-1]]))
    found = [entry.offset for _, frame in again.replay(whole=True) for entry in frame.entries]
    assert [offset for offset in found if offset >= 0] == list(range(20))
    again.close()
    assert not any(MARK in path.read_bytes() for path in tmp_path.iterdir())
