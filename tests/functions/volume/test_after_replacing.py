"""After a copy was replaced: whoever reads, checks or backs up sees the new copy, and waits for the old one no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.test_following import following
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold import errors
from sixfold.process import Process
from sixfold_functions.volume import reader, replacing, roster, scrub_command
from sixfold_functions.volume.backup import archive, service, settings, store, verifying
from sixfold_functions.volume.client import PageVolume, WriterSettings
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.pages.asking import PageReader

PAGE = 512
PATIENT = WriterSettings(append_timeout_s=60.0, takeover_timeout_s=60.0)
CLOCK = clocks.SystemClock()
AFTER = ["a1", "b1", "b2", "c1", "c2", "a3"]


def kept_in(folder: Path) -> archive.Archive:
    """The backup as it is now."""
    kept = archive.Archive(store.open_store(str(folder)), "default")
    kept.refresh()
    return kept


async def replace_a2(volume: inside.InsideVolume) -> None:
    """Return once a3 is a member and a2 is none."""
    async with volume.client() as client:
        begun = await replacing.begin(client, "a2", undo=False, timeout_s=30.0)
        await volume.start(begun.replacement)
        done = await replacing.watch(client, begun, clock=CLOCK)
        assert done.members == AFTER
        with pytest.raises(errors.UsageError, match="'a2' is no copy of volume default; expected one of a1, b1"):
            await client.read(1, 1, copy="a2")
    await eventually(lambda: volume.ended("a2"), "the old copy ends", 60.0)


async def test_everyone_learns_of_a_replacement_while_it_runs_and_after(tmp_path: Path) -> None:
    """A backup and a replica that followed the old copy, a replica that begins later, a scrub, a comparison, pages."""
    folder = tmp_path / "backups"
    async with inside.opened(tmp_path / "data") as volume:
        await volume.start(*(copy for copy in layout.COPIES if copy != "a1"))  # so that a2 is the near one
        chosen = settings.BackupSettings(every_s=0.05, compact_every_s=60.0)
        backing = service.BackupService(
            volume.bus, kept_in(folder), registry=volume.registry, clock=CLOCK, chosen=chosen, folder=tmp_path
        )
        async with (
            volume.writer(settings=PATIENT) as writer,
            PageVolume(writer, page_bytes=PAGE) as pages,
            following(volume, name="early", zone="a") as (early, applied),
        ):
            stopping = asyncio.Event()
            service_task = asyncio.create_task(backing.run(stopping))
            await pages.commit({number: bytes([number]) * PAGE for number in range(10)})
            assert early.copy == "a2"
            await volume.start("a1")
            await replace_a2(volume)

            await eventually(lambda: sorted(early.copies) == sorted(AFTER), "the replica learns of it")
            done = await pages.commit({3: b"x" * PAGE})
            assert await early.reached(done.last_lsn, timeout_s=30.0) == done.last_lsn
            assert early.copy in AFTER
            async with following(volume, name="late", zone="a") as (late, all_of_it):
                assert (sorted(late.copies), late.answering) == (sorted(AFTER), 6)
                await late.reached(done.last_lsn, timeout_s=30.0)
                assert all_of_it.records == applied.records

            await eventually(lambda: volume.is_level(done.last_lsn), "all are level", 60.0)
            asking = PageReader(writer)
            await eventually(lambda: "a3" in asking.sources(done.last_lsn), "pages are read from the new copy, too")
            assert "a2" not in asking.sources(0)
            answer = await writer.reader.ask_pages("a3", [3, 9], lsn=done.last_lsn, epoch=writer.epoch, timeout_s=30.0)
            assert answer.contents == [b"x" * PAGE, bytes([9]) * PAGE] == await pages.read([3, 9])

            await eventually(lambda: kept_in(folder).chain.last_lsn >= done.last_lsn, "the backup goes on")
            began_ms = clocks.now_ms(CLOCK)
            await eventually(lambda: kept_in(folder).latest_ms > began_ms, "so does its latest restorable time")
            stopping.set()
            await service_task

        await is_scrubbed_and_compared(volume, folder)


async def is_scrubbed_and_compared(volume: inside.InsideVolume, folder: Path) -> None:
    """By the six that are members now."""
    process = Process(data_dir=volume.data_dir, registry=volume.registry, bus=volume.bus, name="user", options={})
    members = (await roster.load(volume.bus, volume.registry, volume.name))[0].membership
    named = roster.named(["all"], members.member_places)
    assert named == AFTER
    said = await scrub_command.ask(process, named, lambda report: None)
    assert {scrub_command.result_of(copy, said.get(copy)).state for copy in named} == {"whole"}
    with pytest.raises(errors.UsageError, match="'a2' is no zone and no copy; expected some of: a, b, c, a1, b1"):
        roster.named(["a2"], members.member_places)
    async with reader.CopyReader(volume.bus, registry=volume.registry, clock=CLOCK, volume=volume.name) as asked:
        with pytest.raises(reader.CopyUnreachableError, match="volume default has no copy a3; expected one of a1, a2"):
            await asked.ask("a3")
        asked.use(members)
        keys = await asyncio.gather(*(asked.keys(copy, timeout_s=30.0) for copy in named))
        assert [answer.copy for answer in keys] == AFTER
        kept = kept_in(folder)
        compared, findings = await verifying.compare(volume.bus, kept, members.members, asked, volume.registry)
    assert (compared, findings) == (sorted(AFTER), [])


async def test_a_listener_tells_of_each_change_once(tmp_path: Path) -> None:
    """First what there is, then what comes."""
    told: list[Membership] = []
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        listener = roster.Listener(
            volume.bus, registry=volume.registry, clock=CLOCK, volume=volume.name, use=told.append
        )
        async with volume.writer(settings=PATIENT) as writer, volume.client() as client, listener:
            await writer.append([b"one"])
            assert [each.version for each in told] == [0]
            await replacing.begin(client, "c1", undo=False, timeout_s=30.0)
            await eventually(lambda: listener.membership.version == 1 and listener.membership.settled, "it is heard of")
        assert (told[0].version, told[-1].version, told[-1].settled) == (0, 1, True)
        keys = [each.key for each in told]
        assert keys == sorted(set(keys))  # each once, and none goes back
        assert roster.named(["c", "c3", "a1"], told[-1].member_places) == ["c1", "c2", "c3", "a1"]
