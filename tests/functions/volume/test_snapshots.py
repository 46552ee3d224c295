"""Copies that begin with another one's pages, since nobody keeps the records that they lack."""

from __future__ import annotations

import msgspec
import pytest
from tests.functions.volume.collected import FOLDER, PagedVolume
from tests.functions.volume.test_collection import Crash, crashing
from tests.simulation.paging import PAGE_BYTES
from tests.simulation.snapshots import PART_BYTES
from tests.simulation.writer import Writer, settle

from sixfold_events.volume import VolumeSnapshotAnswered, VolumeSnapshotRequested
from sixfold_functions.volume.core import gossip, joining
from sixfold_functions.volume.pages import snapshot


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def volume(request: pytest.FixtureRequest) -> PagedVolume:
    """A volume that has collected garbage, in the epoch of its third writer."""
    made = PagedVolume(encrypted=request.param)
    for name in ("w2", "w3"):
        made.write(150)
        made.writer = Writer(made.world, name)
        settle(made.world, made.writer)
    made.write(100)
    assert min(made.floor(copy) for copy in made.world.copies) > 200
    return made


def lose_folder(volume: PagedVolume, copy: str) -> None:
    """And what its partition had."""
    volume.world.lose_disk(copy)
    volume.world.start(copy)
    assert volume.world.copies[copy].node.joining


def parts_of(volume: PagedVolume, copy: str) -> list[VolumeSnapshotAnswered]:
    """All parts of what a copy has."""
    found: list[VolumeSnapshotAnswered] = []
    lsn = first_page = 0
    while first_page >= 0:
        request = VolumeSnapshotRequested(volume="default", copy=copy, request_id="", lsn=lsn, first_page=first_page)
        part = snapshot.answer(volume.world.copies[copy].pages, request, part_bytes_max=PART_BYTES)
        assert not part.error, part.error
        found.append(part)
        lsn, first_page = part.lsn, part.next_page
    return found


def test_a_copy_that_lost_its_folder_becomes_level_though_nobody_keeps_what_it_lost(volume: PagedVolume) -> None:
    """It begins with another one's pages, is filled from there, and counts again once it is admitted."""
    lose_folder(volume, "a1")
    volume.begin_anew("a1")
    assert volume.floor("a1") > 200
    assert not volume.world.copies["a1"].node.joining
    assert volume.is_level("a1")
    assert volume.world.hits["log began afresh"] == 1
    volume.write(60)
    assert volume.is_level("a1")


def test_a_copy_that_was_away_while_the_others_let_go_becomes_level(volume: PagedVolume) -> None:
    """What it has is a prefix that nobody continues; its partition lost the rest."""
    volume.world.kill("a1")
    volume.write(300)
    assert volume.floor("b1") > 400
    volume.world.retain("a1", 0)
    volume.world.start("a1")
    volume.begin_anew("a1")
    assert volume.is_level("a1")
    assert volume.floor("a1") > 400


def test_it_goes_on_from_the_pages_after_restarts(volume: PagedVolume) -> None:
    """From its checkpoint, without an index, and after a loss of power."""
    lose_folder(volume, "a1")
    volume.begin_anew("a1")
    for lost in (None, FOLDER / "index"):
        volume.world.copies["a1"].close()
        if lost is not None:
            volume.world.disks["a1"].remove(lost)
        volume.world.start("a1")
        assert volume.is_level("a1")
    volume.world.lose_power("a1")
    volume.world.start("a1")
    volume.write(30)
    assert volume.is_level("a1")


@pytest.mark.parametrize("lost", ["folder", "time"])
def test_a_loss_of_power_at_any_point_of_the_beginning_costs_no_more_than_another(lost: str) -> None:
    """While the layer is written, while the old log still counts, while it is removed: it is level in the end."""
    at, operations = 0, 1
    while at < operations:
        at += 1
        made = PagedVolume()
        made.write(150)
        if lost == "folder":
            made.world.lose_disk("a1")
        else:
            made.world.kill("a1")
            made.write(150)
            made.world.retain("a1", 0)
        made.world.start("a1")
        count = [0]
        disk = made.world.disks["a1"]
        if at == 1:
            disk.before = lambda count=count: count.__setitem__(0, count[0] + 1)  # type: ignore[misc]
            made.begin_anew("a1", rounds=2)
            operations = count[0]
        else:
            crashing(disk, at)
            with pytest.raises(Crash):
                made.begin_anew("a1")
            disk.before = lambda: None
            made.world.lose_power("a1")
            made.world.start("a1")
        made.begin_anew("a1")
        assert made.is_level("a1"), at
        assert not made.world.copies["a1"].node.joining
    assert operations > 10


def test_damaged_layers_of_which_no_records_are_kept_are_replaced_by_another_ones_pages(volume: PagedVolume) -> None:
    """The log goes on as it was; until the pages are here the copy says that it lacks them."""
    copy, disk = volume.world.copies["a1"], volume.world.disks["a1"]
    floor_lsn = volume.floor("a1")
    copy.close()
    for name in disk.names(FOLDER / "pages"):
        disk.remove(FOLDER / "pages" / name)
    volume.world.start("a1")
    copy = volume.world.copies["a1"]
    assert copy.pages.lacking
    assert not copy.collector.collect()
    with pytest.raises(AssertionError, match="lost pages and gets them from another copy"):
        volume.pages("a1", volume.writer.tracker.durable_lsn)
    volume.begin_anew("a1", rounds=2)
    assert not volume.world.copies["a1"].pages.lacking
    assert volume.floor("a1") >= floor_lsn
    assert volume.is_level("a1")


def test_a_copy_takes_records_where_one_of_the_others_still_has_them(volume: PagedVolume) -> None:
    """Pages are for where nobody does."""
    volume.world.copies["c2"].collector.collect = lambda: False  # type: ignore[method-assign]
    floor_lsn = volume.floor("c2")
    volume.write(200)
    answers = [volume.how(copy) for copy in ("b1", "c2")]
    copy = volume.world.copies["a1"]

    def at(lsn: int) -> gossip.Own:
        return gossip.own(copy.node, copy.position)._replace(reached_lsn=lsn)

    assert joining.sources(at(floor_lsn - 1), answers)
    assert not joining.sources(at(floor_lsn), answers)
    assert joining.sources(at(floor_lsn), answers[:1]) == ["b1"]
    assert not joining.sources(at(1 << 40), answers)


def test_parts_that_are_not_what_they_should_be_are_not_taken(volume: PagedVolume) -> None:
    """Bytes of a page, its number, the state that it is of; a part twice; and parts of several copies make a whole."""
    parts = parts_of(volume, "b1")
    assert len(parts) > 2
    assert all(sum(map(len, part.bodies)) < PART_BYTES + PAGE_BYTES for part in parts)
    copy = volume.world.copies["a1"]
    receiving = snapshot.Receiving(copy.pages.place, parts[0])
    receiving.take(parts[0])
    good = parts[1]
    body = bytearray(good.bodies[0])
    body[-1] ^= 1
    for changes in (
        {"bodies": [bytes(body), *good.bodies[1:]]},
        {"checks": [good.checks[0] ^ 1, *good.checks[1:]]},
        {"pages": [good.size, *good.pages[1:]]},
        {"pages": good.pages[:-1]},
        {"lsns": [good.lsn + 1, *good.lsns[1:]]},
        {"lsn": good.lsn + 1},
        {"next_page": 0},
    ):
        with pytest.raises(snapshot.SnapshotDamagedError):
            receiving.take(msgspec.structs.replace(good, **changes))
    with pytest.raises(snapshot.SnapshotDamagedError, match="twice"):
        receiving.take(parts[0])
    for part in parts[1:]:
        request = VolumeSnapshotRequested(
            volume="default", copy="c1", request_id="", lsn=part.lsn, first_page=receiving.next_page
        )
        theirs = snapshot.answer(volume.world.copies["c1"].pages, request, part_bytes_max=PART_BYTES)
        assert (theirs.pages, theirs.checks, theirs.next_page) == (part.pages, part.checks, part.next_page)
        receiving.take(theirs)
    receiving.give_up()
    assert receiving.next_page == -1


def test_a_copy_that_is_in_a_newer_epoch_takes_pages_and_stays_there(volume: PagedVolume) -> None:
    """What is durable is so in each later epoch; one in an older epoch is led into the newer one first."""
    part = parts_of(volume, "b1")[0]
    copy = volume.world.copies["a1"]
    mine = gossip.own(copy.node, copy.position)
    assert joining.leading(part, mine) == []
    assert joining.leading(part, mine._replace(epoch=mine.epoch + 1)) == []
    for behind in (mine._replace(epoch=0, begun=False), mine._replace(begun=False)):  # it read the bump, no more
        events = joining.leading(part, behind)
        assert events is not None
        assert [type(each).__name__ for each in events] == ["VolumeEpochBumped", "VolumeRangeTruncated"]
