"""Backups of volumes whose copies have let go of records: one that lacks them goes on with a copy's pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.collected import PagedVolume
from tests.simulation.paging import PAGE_BYTES, PAGES, applied

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumePagesRequested,
    VolumeReadRequested,
    VolumeSnapshotRequested,
)
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import topics
from sixfold_functions.volume.backup import archive, beginning, building, restoring, service, settings, store, verifying
from sixfold_functions.volume.pages import snapshot

CLOCK = clocks.SystemClock()
CHOSEN = settings.BackupSettings(compact_every_s=1e9)


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> PagedVolume:
    """Copies that answer at once, whoever asks; they have collected what nobody needed."""
    made = PagedVolume()
    made.write(300)

    async def answered(reader: readers.CopyReader, request: readers.Request, timeout_s: float) -> readers.Answer:
        copy = made.world.copies[request.copy]
        answer: readers.Answer
        match request:
            case VolumeReadRequested():
                return copy.answer(request)
            case VolumePagesRequested():
                answer = copy.pages.answer(request)
            case VolumeSnapshotRequested():
                answer = snapshot.answer(copy.pages, request, part_bytes_max=2_000)
            case _:
                raise AssertionError(request)
        if answer.error:
            raise readers.CopyDamagedError(answer.error)
        return answer

    monkeypatch.setattr(readers.CopyReader, "_request", answered)
    assert made.floor("a1") > 200
    return made


def begun(volume: PagedVolume, bus: port.Bus, kept: store.Store, folder: Path) -> service.BackupService:
    """The service, as it starts."""
    opened = archive.Archive(kept, "default")
    return service.BackupService(bus, opened, registry=volume.world.registry, clock=CLOCK, chosen=CHOSEN, folder=folder)


def restored(kept: store.Store, at_ms: int | None = None) -> list[bytes]:
    opened = archive.Archive(kept, "default")
    origin = restoring.find(opened, at_ms, volume="again")
    batches = building.events(building.past(origin, opened), origin)
    size, content = applied([payload for batch in batches for payload in batch.payloads])
    return [content.get(page, bytes(PAGE_BYTES)) if page < size else b"" for page in range(PAGES)]


async def test_a_backup_of_an_old_volume_begins_with_its_pages(volume: PagedVolume, tmp_path: Path) -> None:
    """And goes on with the records behind them; a service that starts anew goes on where it was."""
    kept = store.MemoryStore()
    async with inside.opened(tmp_path / "data") as running:
        await running.bus.create_topics(topics.specs("default"))
        for _ in range(3):
            made = begun(volume, running.bus, kept, tmp_path)
            for _ in range(3):
                await made.step()
            opened = archive.Archive(kept, "default")
            opened.refresh()
            assert opened.chain.last_lsn == volume.writer.tracker.durable_lsn
            assert opened.chain.base_lsn > 200
            assert verifying.verify(opened).findings == []
            assert restored(kept) == volume.pages("b1", opened.chain.last_lsn)
            volume.write(40)
        with pytest.raises(building.RestoreError, match="earlier than its earliest restorable time"):
            restored(kept, 1)


async def test_a_backup_that_gets_no_pages_says_so_and_tries_again(
    volume: PagedVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a plain log, whose records are gone for good."""
    kept = store.MemoryStore()
    async with inside.opened(tmp_path / "data") as running:
        await running.bus.create_topics(topics.specs("default"))
        made = begun(volume, running.bus, kept, tmp_path)

        async def refused(beginner: beginning.Beginner, word: VolumeCopyAcknowledged) -> bool:
            raise readers.CopyUnreachableError("it does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(beginning.Beginner, "begin", refused)
            with pytest.raises(
                service.OvertakenError, match="ends at LSN 0, and no copy that answers keeps what follows"
            ):
                await made.step()
        assert kept.objects == {}
        await made.step()
        assert kept.objects


async def test_a_backup_that_was_away_for_too_long_goes_on_with_pages(volume: PagedVolume, tmp_path: Path) -> None:
    """What it has from before can be restored as before."""
    kept = store.MemoryStore()
    async with inside.opened(tmp_path / "data") as running:
        await running.bus.create_topics(topics.specs("default"))
        made = begun(volume, running.bus, kept, tmp_path)
        for _ in range(3):
            await made.step()
            volume.world.clock.seconds += 5
            volume.write(20)
        await made.step()
        opened = archive.Archive(kept, "default")
        opened.refresh()
        last_lsn = opened.chain.last_lsn
        at_ms = opened.chain.last_ms - 1
        before = restored(kept, at_ms)
        volume.world.clock.seconds += 60
        volume.write(300)
        assert volume.floor("a1") > last_lsn
        for _ in range(2):
            made = begun(volume, running.bus, kept, tmp_path)
            for _ in range(3):
                await made.step()
            opened.refresh()
            assert opened.chain.base_lsn > last_lsn
            assert opened.chain.last_lsn == volume.writer.tracker.durable_lsn
            assert restored(kept) == volume.pages("b1", opened.chain.last_lsn)
            assert restored(kept, at_ms) == before
            with pytest.raises(building.RestoreError, match=rf"records from LSN {last_lsn + 1} to \d+ are gone"):
                restored(kept, at_ms + 1_000)
            assert verifying.verify(opened).findings == []
