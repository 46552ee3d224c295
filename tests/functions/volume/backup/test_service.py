"""The service that keeps a backup up to date: what it takes and when, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.backup.making import DAY_MS, records
from tests.functions.volume.inside import InsideVolume
from tests.support import waiting

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.process import Process
from sixfold_events.volume import VolumeBackedUp
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.backup import archive, service, settings, store, verifying
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.pages.volume import PageVolume

CLOCK = clocks.SystemClock()
EAGER = settings.BackupSettings(every_s=0.05, compact_every_s=0.3, snapshot_log_bytes=1)


def opened(tmp_path: Path, name: str = "default") -> archive.Archive:
    kept = archive.Archive(store.open_store(str(tmp_path / "backups")), name)
    kept.refresh()
    return kept


@contextlib.asynccontextmanager
async def backing_up(volume: InsideVolume, kept: archive.Archive) -> AsyncIterator[asyncio.Task[None]]:
    """The service, more eager than at home."""
    made = service.BackupService(
        volume.bus, kept, registry=volume.registry, clock=CLOCK, chosen=EAGER, folder=volume.data_dir
    )
    stopping = asyncio.Event()
    task = asyncio.create_task(made.run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        await asyncio.gather(task, return_exceptions=True)


def has(tmp_path: Path, count: int) -> bool:
    return opened(tmp_path).chain.last_lsn >= count


async def test_what_is_acknowledged_is_soon_in_the_backup(tmp_path: Path) -> None:
    """In order and once, also over a change of writers and with a zone away; the copies have the same."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with backing_up(volume, opened(tmp_path)):
            async with volume.writer("first") as writer:
                for number in range(20):
                    await writer.append([f"{number}".encode()])
            await volume.stop("c1", "c2")
            async with volume.writer("second") as writer:
                for number in range(20, 40):
                    await writer.append([f"{number}".encode()])
                await waiting.eventually(lambda: has(tmp_path, 40), "all is in the backup")
        kept = opened(tmp_path)
        assert records(kept) == [f"{number}".encode() for number in range(40)]
        assert verifying.verify(kept).findings == []
        async with readers.CopyReader(volume.bus, registry=volume.registry, clock=CLOCK, volume="default") as reader:
            compared, findings = await verifying.compare(volume.bus, kept, layout.COPIES, reader, volume.registry)
        assert (compared, findings) == (["a1", "a2", "b1", "b2"], [])


async def backed_up(volume: InsideVolume) -> list[VolumeBackedUp]:
    """What the backup told the volume's copies."""
    partition = port.TopicPartition(layout.topics(volume.name).retention, 0)
    found: list[VolumeBackedUp] = []
    async with volume.bus.assign([partition]) as consumer:
        await consumer.seek(partition, 0)
        for records in (await consumer.fetch(records_max=100, wait_s=0.1)).values():
            events = [volume.registry.decode(record.value, record.headers) for record in records]
            found.extend(event for event in events if isinstance(event, VolumeBackedUp))
    return found


async def test_copies_are_told_how_far_a_backup_is_and_pages_have_snapshots(tmp_path: Path) -> None:
    """Never further than what is durable in the store; so a copy knows what it need not keep for the backup."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with (
            backing_up(volume, opened(tmp_path)),
            volume.writer() as writer,
            PageVolume(writer, page_bytes=512) as pages,
        ):
            for number in range(10):
                await pages.commit({number % 3: bytes([number]) * 512})

            async def told() -> bool:
                words = await backed_up(volume)
                kept = opened(tmp_path)
                assert all(word.last_lsn <= kept.chain.last_lsn for word in words)
                assert {word.backup for word in words} <= {kept.url}
                return bool(words) and words[-1].last_lsn >= writer.durable_lsn

            await waiting.eventually(told, "the backup says that it has everything")
            await waiting.eventually(lambda: opened(tmp_path).snapshots, "there is a snapshot")
        assert verifying.verify(opened(tmp_path)).findings == []


async def test_the_latest_restorable_time_goes_on_while_nothing_comes(tmp_path: Path) -> None:
    """The writer says so now and then; without a writer nobody can promise it, and it stands still."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with backing_up(volume, opened(tmp_path)):
            async with volume.writer() as writer:
                await writer.append([b"one"])
                began = clocks.now_ms(CLOCK)
                await waiting.eventually(lambda: opened(tmp_path).latest_ms > began + 3_000, "the time goes on")
            stood = opened(tmp_path).latest_ms
            assert stood < clocks.now_ms(CLOCK)
        assert len(opened(tmp_path).quiets) <= 2


async def test_two_services_back_one_volume_up_and_do_no_harm(tmp_path: Path) -> None:
    """Each record can be restored once."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with (
            backing_up(volume, opened(tmp_path)),
            backing_up(volume, opened(tmp_path)),
            volume.writer() as writer,
        ):
            for number in range(60):
                await writer.append([f"{number}".encode()])
            await waiting.eventually(lambda: has(tmp_path, 60), "all is in the backup")
        kept = opened(tmp_path)
        kept.compact(retention_ms=DAY_MS)
        assert records(kept) == [f"{number}".encode() for number in range(60)]
        assert verifying.verify(kept).findings == []


async def test_a_store_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume goes on meanwhile, and nothing is missing afterwards."""
    create, away = store.FolderStore.create, True

    def failing(self: store.FolderStore, name: str, data: bytes) -> bool:
        done = create(self, name, data)
        if away:
            raise store.StoreError("the connection was lost")
        return done

    monkeypatch.setattr(store.FolderStore, "create", failing)
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with backing_up(volume, opened(tmp_path)) as task, volume.writer() as writer:
            for number in range(30):
                await writer.append([f"{number}".encode()])
            away = False
            await waiting.eventually(lambda: has(tmp_path, 30), "all is in the backup")
            assert not task.done()
    assert records(opened(tmp_path)) == [f"{number}".encode() for number in range(30)]


@pytest.mark.parametrize("count", [1, 5])
async def test_a_backup_of_another_volume_with_the_same_name_is_left_alone(tmp_path: Path, count: int) -> None:
    """Somebody made the volume anew: shorter or longer than the backup, the service says so and ends."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with backing_up(volume, opened(tmp_path)), volume.writer() as writer:
            for _ in range(3):
                await writer.append([b"old"])
            await waiting.eventually(lambda: has(tmp_path, 3), "all is in the backup")
    async with inside.opened(tmp_path / "new") as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            for _ in range(count):
                await writer.append([b"new"])
            async with backing_up(volume, opened(tmp_path)) as task:
                with pytest.raises(service.OtherVolumeError, match="another volume default"):
                    async with asyncio.timeout(waiting.DEADLINE_S):
                        await task
    assert records(opened(tmp_path)) == [b"old"] * 3


async def test_a_clone_of_now_has_what_was_acknowledged_a_moment_ago(tmp_path: Path) -> None:
    """The backup is brought up to date first, whether a service runs or not."""
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"one", b"two"])
            kept = archive.Archive(store.open_store(str(tmp_path / "backups")), "default")
            made = service.BackupService(
                volume.bus, kept, registry=volume.registry, clock=CLOCK, chosen=EAGER, folder=tmp_path
            )
            await made.once()
        assert records(opened(tmp_path)) == [b"one", b"two"]


@pytest.mark.parametrize("days", ["0", "36", "week"])
async def test_a_retention_that_cannot_be_is_refused(tmp_path: Path, days: str) -> None:
    """From 1 to 35 days, as Aurora's."""
    async with inside.opened(tmp_path) as volume:
        process = Process(
            name="volume.backup",
            data_dir=tmp_path,
            registry=volume.registry,
            bus=volume.bus,
            options={"retention-days": days},
        )
        with pytest.raises(errors.UsageError, match=f"--retention-days {days}: expected a number of 1 to 35"):
            await service.run(process)
