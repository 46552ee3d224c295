"""New volumes from a backup: six equal copies, or none; they work, and none is taken for another."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.backup.making import BEGAN_MS, DAY_MS, archive_of, batches
from tests.functions.volume.inside import InsideVolume
from tests.support import waiting

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold_events.volume import VolumeRestored
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import segments, sharing
from sixfold_functions.volume.backup import (
    archive,
    building,
    references,
    restoring,
    service,
    settings,
    snapshots,
    store,
)
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.backup import Batch
from sixfold_functions.volume.pages.volume import PageVolume

CLOCK = clocks.SystemClock()


def backup_in(folder: Path, count: int = 30) -> archive.Archive:
    """A backup of `count` batches of two records, one a second."""
    halves = batches(count // 2), batches(count - count // 2, first_lsn=2 * (count // 2) + 1)
    return archive_of(*halves, kept=store.open_store(str(folder / "backups")))


async def restore(
    volume: InsideVolume, kept: archive.Archive, at_ms: int | None = None, *, build: bool = True, shared: bool = False
) -> restoring.Restored:
    return await restoring.new_volume(
        volume.bus,
        kept,
        at_ms,
        volume=volume.name,
        shared=shared,
        data_dir=volume.data_dir if build else None,
        registry=volume.registry,
        clock=CLOCK,
    )


async def records(volume: InsideVolume, copy: str | None = None) -> list[bytes]:
    async with volume.client() as client:
        return (await client.read(1, 1_000, copy=copy)).payloads


def said(last_lsn: int) -> list[bytes]:
    return [f"record {lsn}".encode() for lsn in range(1, last_lsn + 1)]


@pytest.mark.parametrize("build", [True, False], ids=["all at once", "each at its start"])
@pytest.mark.parametrize("shared", [False, True], ids=["restored", "cloned"])
async def test_a_new_volume_has_the_past_and_works(tmp_path: Path, build: bool, shared: bool) -> None:
    """It is read and appended to, another writer takes it over, and all that is there after a restart of all."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        made = await restore(volume, kept, BEGAN_MS + 9_500, build=build, shared=shared)
        assert made.origin.last_lsn == 20
        await volume.start(*layout.COPIES)
        assert await records(volume) == said(20)
        async with volume.writer("first") as writer:
            assert (await writer.append([b"new"])).first_lsn == 21
        async with volume.writer("second") as writer:
            assert (await writer.append([b"newer"])).first_lsn == 22
            await waiting.eventually(lambda: volume.is_level(22), "all six copies are level")
        await volume.stop(*layout.COPIES)
        await volume.start(*layout.COPIES)
        for copy in layout.COPIES:
            assert await records(volume, copy) == [*said(20), b"new", b"newer"]


def logs(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Each copy's stored batches, with their epochs."""
    registry = catalogue.installed().registry
    found = {}
    for copy in layout.COPIES:
        opened = copies.Copy(disks.OsDisk(), folder / copy, volume="again", name=copy, registry=registry)
        opened.open(1)
        node = opened.node
        assert (node.epoch, node.settled_lsn) == (node.log_epoch, node.prefix.complete_lsn)
        found[copy] = [(node.epoch, opened.value(place)) for place in opened.places(1, node.settled_lsn)]
        opened.close()
    return found


async def test_all_six_copies_agree_byte_for_byte(tmp_path: Path) -> None:
    """Whether they were made together, or each for itself."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await restore(volume, kept)
        together = logs(tmp_path / "data" / "volume" / "again")
        for copy in layout.COPIES[::2]:
            shutil.rmtree(volume.folder(copy))
            await volume.start(copy)
            await volume.stop(copy)
        assert logs(tmp_path / "data" / "volume" / "again") == together
    first = together["a1"]
    assert len(first) == 30
    assert all(found == first for found in together.values())


async def test_a_copy_that_lost_its_folder_makes_its_log_again(tmp_path: Path) -> None:
    """And reads what came since from its partition, so that it counts again."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await restore(volume, kept)
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"new"])
            await volume.lose("b1")
            await volume.start("b1")
            await waiting.eventually(lambda: volume.is_level(61), "b1 is level")
        assert await records(volume, "b1") == [*said(60), b"new"]


async def test_a_log_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in the middle leaves no copy that has less than its volume begins with."""
    kept = backup_in(tmp_path)
    monkeypatch.setattr(building, "GROUP_BYTES", 100)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        learn, calls = copies.Copy.learn, 0

        def killed(copy: copies.Copy, *group: object) -> None:
            nonlocal calls
            calls += 1
            if calls > 40:
                raise KeyboardInterrupt
            learn(copy, *group)  # type: ignore[arg-type]

        monkeypatch.setattr(copies.Copy, "learn", killed)
        monkeypatch.setattr(building._Making, "give_up", lambda making: making._lock.close())  # nobody tidies up
        with pytest.raises(KeyboardInterrupt):
            building.build(
                {copy: volume.folder(copy) for copy in layout.COPIES},
                restoring.find(kept, None, volume="again"),
                kept,
                registry=volume.registry,
                now_ms=1,
            )
        assert not any(volume.folder(copy).exists() for copy in layout.COPIES)
        monkeypatch.undo()
        await restore(volume, kept)
        await volume.start(*layout.COPIES)
        assert await records(volume) == said(60)


async def test_copies_without_the_past_are_never_taken_for_an_empty_volume(tmp_path: Path) -> None:
    """The store is away and four folders are gone: the other two do not make a volume, and the four do not start."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await restore(volume, kept)
        (tmp_path / "backups").rename(tmp_path / "elsewhere")
        for copy in layout.COPIES[:4]:
            shutil.rmtree(volume.folder(copy))
            with pytest.raises(archive.BackupError, match="volume default has no record at LSN 1, expected LSN 60"):
                await volume.start(copy)
        await volume.start("c1", "c2")
        assert await records(volume) == said(60)
        (tmp_path / "elsewhere").rename(tmp_path / "backups")
        await volume.start(*layout.COPIES[:4])
        async with volume.writer() as writer:
            assert (await writer.append([b"new"])).first_lsn == 61


async def test_a_copy_of_another_moment_is_refused(tmp_path: Path) -> None:
    """Its folder came from elsewhere: it says with what the volume begins, and with what it began."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await restore(volume, kept)
        shutil.rmtree(volume.folder("a1"))
        other = restoring.find(kept, BEGAN_MS + 5_000, volume="again")
        building.build({"a1": volume.folder("a1")}, other, kept, registry=volume.registry, now_ms=1)
        await volume.start(*layout.COPIES[1:])
        with pytest.raises(sharing.OtherPastError, match=r"LSN 60 from .* was made from default at LSN 12 from"):
            await volume.run_to_end("a1")


async def test_a_copy_that_ran_before_its_volume_was_restored_starts_again(tmp_path: Path) -> None:
    """It would count as one that holds nothing of a volume that has a past."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        early = asyncio.create_task(volume.run_to_end("a1"))
        await waiting.eventually(lambda: any(volume.folder("a1").glob("*.seg")), "a1 runs")
        await restore(volume, kept, build=False)
        with pytest.raises(sharing.OtherPastError, match="start it again"):
            await early
        await volume.start("a1")
        assert await records(volume, "a1") == said(60)


async def test_a_name_that_a_volume_has_had_is_refused(tmp_path: Path) -> None:
    """Neither its folders nor its partitions are touched."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"mine"])
        with pytest.raises(building.RestoreError, match="there is a volume again already"):
            await restore(volume, kept)
        with pytest.raises(building.RestoreError, match="volume again has records already"):
            await restore(volume, kept, build=False)
        assert await records(volume) == [b"mine"]


async def test_a_moment_that_the_backup_does_not_know_is_refused(tmp_path: Path) -> None:
    """With the moments that it knows; nothing is made."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        with pytest.raises(
            building.RestoreError, match=r"later than its latest restorable time, 2025-11-24T16:00:28\.999Z"
        ):
            await restore(volume, kept, BEGAN_MS + DAY_MS)
        with pytest.raises(building.RestoreError, match=r"no records at .*; its first one is of 2025-11-24T16:00:00Z"):
            await restore(volume, kept, BEGAN_MS - 1)
        with pytest.raises(building.RestoreError, match="no backup of volume other; it has those of: default"):
            await restore(volume, archive.Archive(kept.whole_store, "other"))
        assert not volume.folder("a1").exists()


async def test_a_clone_stays_what_it_was_while_its_source_goes_on(tmp_path: Path) -> None:
    """And reads on when the objects of its past are merged; where they are gone it says so, and works on."""
    kept = backup_in(tmp_path)
    async with inside.opened(tmp_path / "data", name="again") as volume:
        await restore(volume, kept, shared=True)
        assert references.clones(kept) == ["again"]
        assert sum(path.stat().st_size for path in volume.folder("a1").iterdir()) < 10_000
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"mine"])
            kept.add(batches(5, first_lsn=61))
            kept.add([Batch(71, 1 << 32 | 7, 1 << 32 | 7, BEGAN_MS + DAY_MS, [71], [b"later"])])
            kept.compact(retention_ms=DAY_MS)
            assert await records(volume) == [*said(60), b"mine"]
            shutil.rmtree(tmp_path / "backups")
            assert (await writer.append([b"more"])).first_lsn == 62
            async with volume.client() as client:
                assert (await client.read(61, 2)).payloads == [b"mine", b"more"]


async def test_a_clone_with_many_segments_starts_from_its_newest_checkpoint(tmp_path: Path) -> None:
    """And, where its index is gone, from its beginning."""
    kept = backup_in(tmp_path)
    registry = catalogue.installed().registry
    origin = restoring.find(kept, None, volume="again", shared=True)
    folder = tmp_path / "a1"
    building.build({"a1": folder}, origin, kept, registry=registry, now_ms=1)

    def opened() -> copies.Copy:
        copy = copies.Copy(disks.OsDisk(), folder, volume="again", name="a1", registry=registry, segment_bytes_max=100)
        copy.open(1)
        return copy

    for _ in range(4):
        opened().close()
    assert len(list(folder.glob("*.seg"))) >= 3
    copy = opened()
    assert (copy.node.origin, copy.node.settled_lsn, copy.shared.last_lsn) == (origin, 60, 60)
    copy.close()
    (folder / "index").unlink()
    copy = opened()
    assert (copy.node.origin, copy.node.settled_lsn, copy.shared.last_lsn) == (origin, 60, 60)
    copy.close()
    assert isinstance(origin, VolumeRestored)
    assert segments.SEGMENT_BYTES_MAX > 100


@pytest.mark.parametrize("snapshot", [False, True], ids=["from the log", "from a snapshot"])
@pytest.mark.parametrize("shared", [False, True], ids=["restored", "cloned"])
async def test_a_volume_of_pages_has_its_pages(tmp_path: Path, shared: bool, snapshot: bool) -> None:
    """Each copy makes them of the records, its own or the shared ones; they can be changed and read."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=512) as held:
            await held.commit({0: b"a" * 512, 3: b"b" * 512})
            kept = archive.Archive(store.open_store(str(tmp_path / "backups")), "default")
            made = service.BackupService(
                volume.bus,
                kept,
                registry=volume.registry,
                clock=CLOCK,
                chosen=settings.BackupSettings(),
                folder=tmp_path,
            )

            async def taken() -> bool:
                await made.step()
                return kept.chain.last_lsn >= writer.durable_lsn

            async with made._reader:
                await waiting.eventually(taken, "all is in the backup")
                if snapshot:
                    await held.commit({0: b"z" * 512, 1: b"y" * 512})
                    await waiting.eventually(taken, "all is in the backup")
                    await asyncio.to_thread(snapshots.Maker(kept, tmp_path).make)
                await held.commit({0: b"a" * 512})
                await waiting.eventually(taken, "all is in the backup")
    async with inside.opened(tmp_path / "data", name="again") as volume:
        made_of = (await restore(volume, kept, shared=shared)).origin
        assert (made_of.snapshot_lsn > 0) is snapshot
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=512) as held:
            assert await held.read([0, 3]) == [b"a" * 512, b"b" * 512]
            await held.commit({3: b"c" * 512})
            assert await held.read([3]) == [b"c" * 512]
