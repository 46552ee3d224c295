"""Running copies of a volume of pages let go of records that nobody needs, and go on without them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.functions.volume.inside import InsideVolume, opened
from tests.support import waiting

from sixfold import clock as clocks
from sixfold import publisher
from sixfold_events.volume import VolumeBackedUp
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import drawing, trimming
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.backup import archive, moments, service, settings, store, verifying
from sixfold_functions.volume.client import (
    ConsistencyPoint,
    PageVolume,
    ReplicaOvertakenError,
    VolumeReplica,
    VolumeWriter,
    begin_with_pages,
)
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core import pages as core_pages
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.core.readpoints import ReadPoints
from sixfold_functions.volume.pages.store import PageStore

PAGE = 512


@pytest.fixture
async def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InsideVolume]:
    """Six copies with small segments and layers."""
    for function, limits in (
        (copies.Copy.__init__, {"segment_bytes_max": 20_000}),
        (PageStore.__init__, {"tail_bytes_max": 8_000, "image_bytes_min": 16_000}),
    ):
        monkeypatch.setattr(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), **limits})
    async with opened(tmp_path) as made:
        await made.start(*layout.COPIES)
        yield made


def impatient(writer: VolumeWriter) -> None:
    """What nobody reads is garbage after a fifth of a second, not after ten."""
    writer.read_points.points = ReadPoints(patience_s=0.2)


async def overwrite(pages: PageVolume, times: int) -> dict[int, bytes]:
    """Change the same eight pages again and again; what they are in the end."""
    content: dict[int, bytes] = {}
    for number in range(times):
        content = {page: f"{number} of {page} ".encode().ljust(PAGE, bytes([number % 251])) for page in range(8)}
        await pages.commit(content)
    return content


async def floor_of(volume: InsideVolume, copy: str) -> int:
    async with readers.CopyReader(
        volume.bus, registry=volume.registry, clock=clocks.SystemClock(), volume=volume.name
    ) as reader:
        reader.use(await members(volume))
        return (await reader.ask(copy, timeout_s=10.0)).floor_lsn


async def members(volume: InsideVolume) -> Membership:
    async with volume.client() as client:
        return client.membership


async def rises(volume: InsideVolume, pages: PageVolume, copy: str, above: int) -> dict[int, bytes]:
    """Write until `copy` keeps only records above `above`."""
    while True:
        content = await overwrite(pages, 20)
        if await floor_of(volume, copy) > above:
            return content


@pytest.mark.timeout(120)
async def test_a_new_copy_begins_with_pages_where_nobody_keeps_the_records(volume: InsideVolume) -> None:
    """It counts once it is level; readers of what went are told what to do, pages are read from any copy."""
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages, volume.client() as client:
        impatient(writer)
        content = await rises(volume, pages, "a1", 100)
        with pytest.raises(readers.RecordsGoneError, match=r"keeps records from LSN .* was asked for LSN 1: .*restore"):
            await client.read(1, 10)
        await client.replace("c2")
        await volume.start("c3")

        async def replaced() -> bool:
            state = await client.status()
            return not state.replaced and state.settled and "c3" in {copy.copy for copy in state.copies}

        await waiting.eventually(replaced, "c3 replaced c2", 60.0)
        assert await floor_of(volume, "c3") > 0
        content = await overwrite(pages, 5)
        await volume.stop("a1", "a2", "b1")
        answer = await writer.reader.ask_pages("c3", list(range(8)), lsn=writer.durable_lsn, epoch=writer.epoch)
        assert dict(enumerate(answer.contents)) == content


@pytest.mark.timeout(120)
async def test_a_volume_is_opened_as_one_of_pages_though_its_first_record_is_gone(volume: InsideVolume) -> None:
    """By a writer that takes it over, which has all pages."""
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        impatient(writer)
        content = await rises(volume, pages, "a1", 50)
    async with volume.writer("next") as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        assert await pages.read(range(8)) == [content[page] for page in range(8)]


@pytest.mark.timeout(120)
async def test_records_stay_while_a_backup_says_that_it_lacks_them(volume: InsideVolume) -> None:
    """Over writers: the next one hears its last word; once it has all, they go."""

    async def say(lsn: int) -> None:
        event = VolumeBackedUp(volume=volume.name, backup="file:///away", last_lsn=lsn)
        await volume.bus.publish([publisher.record_of(event, source="/test", clock=clocks.SystemClock())])

    await say(0)
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        impatient(writer)
        await overwrite(pages, 60)
    async with volume.writer("next") as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        impatient(writer)
        await overwrite(pages, 60)
        assert await floor_of(volume, "b1") == 0
        await say(writer.durable_lsn)
        await rises(volume, pages, "b1", 100)


@pytest.mark.timeout(120)
async def test_a_plain_log_lets_go_of_what_its_user_gives_up_and_of_nothing_else(volume: InsideVolume) -> None:
    """By LSN and by moment; over writers; what stays is read, and what went is named with what to do."""
    clock = clocks.SystemClock()

    async def trim(before: str) -> trimming.Trimmed:
        return await trimming.give_up(volume.bus, volume.name, before, registry=volume.registry, clock=clock)

    async def appended(writer: VolumeWriter, times: int) -> None:
        for number in range(times):
            await writer.append([f"{number}".encode().ljust(400)] * 5)

    async with volume.writer() as writer, volume.client() as client:
        impatient(writer)
        await appended(writer, 60)
        moment = moments.text(clocks.now_ms(clock) + 1)
        await waiting.eventually(lambda: clocks.now_ms(clock) > moments.ms(moment), "a later stamp")
        first_lsn = writer.durable_lsn + 1
        await appended(writer, 60)
        assert {await floor_of(volume, copy) for copy in layout.COPIES} == {0}
        with pytest.raises(trimming.NotTrimmedError, match="expected an LSN of 1 to"):
            await trim("1000000")
        assert (await trim("100")).first_lsn == 100
        assert (await trim(moment)).first_lsn == first_lsn

    async with volume.writer("next") as writer, volume.client() as client:
        impatient(writer)

        async def has_gone() -> bool:
            await appended(writer, 2)
            return 100 < await floor_of(volume, "b2") < first_lsn

        await waiting.eventually(has_gone, "records are let go of", 60.0)
        floor_lsn = await floor_of(volume, "b2")
        with pytest.raises(readers.RecordsGoneError, match="its user gave up older ones"):
            await client.read(floor_lsn, 5, copy="b2")
        assert len((await client.read(floor_lsn + 1, 5, copy="b2")).payloads) == 5
        state = await client.status()
        kept = {copy.copy: (copy.first_lsn, copy.log_bytes) for copy in state.copies}
        assert kept["b2"][0] == floor_lsn + 1
        drawn = Console(width=200, record=True, file=io.StringIO())
        drawn.print(drawing.volume(state))
        assert "records are kept from LSN" in drawn.export_text()


@pytest.mark.timeout(120)
async def test_a_volume_of_pages_is_not_trimmed(volume: InsideVolume) -> None:
    """It does that by itself, and says so."""
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        await overwrite(pages, 2)

        async def refused() -> bool:
            try:
                await trimming.give_up(
                    volume.bus, volume.name, "2", registry=volume.registry, clock=clocks.SystemClock()
                )
            except trimming.NotTrimmedError as error:
                return "holds pages" in str(error)
            return False

        await waiting.eventually(refused, "the copies know that it holds pages")


@pytest.mark.timeout(120)
async def test_a_replica_begins_with_pages_where_nobody_keeps_the_records(volume: InsideVolume) -> None:
    """It has the state at a consistency point, and follows from there; one that wants all records is told how."""
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        impatient(writer)
        await rises(volume, pages, "a1", 60)
        for copy in layout.COPIES:
            while not await floor_of(volume, copy):
                await overwrite(pages, 20)
        applied: list[ConsistencyPoint] = []
        async with VolumeReplica(volume.bus, registry=volume.registry, apply=applied.append) as late:
            with pytest.raises(
                ReplicaOvertakenError, match=r"goes on with LSN 1, and .* keep records from .*begin_with_pages"
            ):
                await late.reached(1, timeout_s=60.0)
        assert applied == []

        found: dict[int, bytes] = {}
        begun = await begin_with_pages(volume.bus, registry=volume.registry, put=found.__setitem__)
        assert (begun.page_bytes, begun.size) == (PAGE, 8)
        assert found == dict(enumerate(await pages.read(range(8), at=begun.lsn)))
        following = VolumeReplica(
            volume.bus, registry=volume.registry, apply=applied.append, start_lsn=begun.lsn, name="r1"
        )
        async with following as replica:
            done = await pages.commit({3: b"x" * PAGE})
            await replica.reached(done.last_lsn, timeout_s=30.0)
        changes = [change for point in applied for change in core_pages.changes(point.first_lsn, point.records)]
        for change in changes:
            if change.kind is not core_pages.Kind.SIZE:
                before = core_pages.image_of(begun.lsn, change.page, found[change.page])
                found[change.page] = core_pages.fold([before, change], PAGE)
        assert applied[0].first_lsn == begun.lsn + 1
        assert found == dict(enumerate(await pages.read(range(8), at=done.last_lsn)))


@pytest.mark.timeout(120)
async def test_a_backup_that_was_overtaken_goes_on_with_pages(volume: InsideVolume, tmp_path: Path) -> None:
    """Of a copy, over the bus; the log goes on behind them."""
    kept = archive.Archive(store.open_store(str(tmp_path / "backups")), volume.name)
    backing = service.BackupService(
        volume.bus,
        kept,
        folder=tmp_path / "keeping",
        registry=volume.registry,
        clock=clocks.SystemClock(),
        chosen=settings.BackupSettings(),
    )
    async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        impatient(writer)
        for copy in layout.COPIES:
            while not await floor_of(volume, copy):
                await overwrite(pages, 20)
        await backing.once()
        assert kept.chain.base_lsn > 0
        assert kept.chain.last_lsn >= kept.chain.base_lsn
        assert verifying.verify(kept).findings == []


@pytest.mark.timeout(120)
async def test_a_backup_is_compared_with_what_copies_still_keep(volume: InsideVolume, tmp_path: Path) -> None:
    """Copies let go only of what it says that it has, and `verify --deep` finds no fault in what is gone."""
    kept = archive.Archive(store.open_store(str(tmp_path / "backups")), volume.name)
    clock = clocks.SystemClock()
    backing = service.BackupService(
        volume.bus,
        kept,
        folder=tmp_path / "keeping",
        registry=volume.registry,
        clock=clock,
        chosen=settings.BackupSettings(every_s=0.2),
    )
    stopping = asyncio.Event()
    running = asyncio.create_task(backing.run(stopping))
    try:
        async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            await waiting.eventually(lambda: writer.read_points.holders.known, "the writer knows the backups")
            impatient(writer)
            await rises(volume, pages, "a1", 60)
            assert await floor_of(volume, "a1") <= kept.chain.last_lsn
            async with readers.CopyReader(
                volume.bus, registry=volume.registry, clock=clock, volume=volume.name
            ) as reader:
                compared, findings = await verifying.compare(volume.bus, kept, layout.COPIES, reader, volume.registry)
        assert (sorted(compared), findings) == (sorted(layout.COPIES), [])
    finally:
        stopping.set()
        await running
