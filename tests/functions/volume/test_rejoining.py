"""A copy whose folder was moved away, as its messages advise, when its partition's beginning is gone by retention."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold_functions.volume import drawing
from sixfold_functions.volume.client import QuorumLostError
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.settings import WriterSettings

REDO = layout.topics(layout.DEFAULT_VOLUME).redo
RECORDS = [f"record {number}".encode() * 20 for number in range(80)]
PATIENT = WriterSettings(append_timeout_s=60.0, takeover_timeout_s=60.0)


@contextlib.asynccontextmanager
async def aged(data_dir: Path) -> AsyncIterator[inside.InsideVolume]:
    """A volume of 80 records, the first of which no partition has any more; no writer."""
    short = port.TopicSpec(name=REDO, partitions=len(layout.COPIES), retention_bytes=8_000)
    async with inside.opened(data_dir, short) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=PATIENT) as writer:
            for record in RECORDS:
                await writer.append([record])

        async def gone() -> bool:
            found = [await volume.bus.offsets(port.TopicPartition(REDO, place.partition)) for place in layout.PLACES]
            return all(offsets.start > 10 for offsets in found)

        await eventually(gone, "retention took the beginning")
        yield volume


async def states(volume: inside.InsideVolume) -> dict[str, str]:
    async with volume.client() as client:
        return {copy.copy: copy.state for copy in (await client.status()).copies}


async def test_an_emptied_copy_is_filled_from_the_others_and_all_six_are_level(tmp_path: Path) -> None:
    """While a writer writes and where none does; what it then holds is what the others hold."""
    async with aged(tmp_path) as volume:
        await volume.lose("b2")
        await volume.start("b2")
        async with volume.writer(settings=PATIENT) as writer:
            await eventually(lambda: volume.is_level(80), "the copy is level without an append")
            await volume.lose("c1")
            await volume.start("c1")
            for _ in range(20):
                last = await writer.append([b"more"])
            await eventually(lambda: volume.is_level(last.last_lsn), "the other copy is level while appends go on")
            async with volume.client() as client:

                async def known() -> bool:
                    return bool((await client.read(last.last_lsn, 1, copy="a1")).payloads)

                await eventually(known, "it is announced that the last record is durable")
                for copy in layout.COPIES:
                    found = await client.read(1, 1000, copy=copy, timeout_s=10.0)
                    assert found.payloads == [*RECORDS, *[b"more"] * 20], copy
        await volume.stop("b2", "c1")
        await volume.start("b2", "c1")
        assert set((await states(volume)).values()) == {"up"}, "they need not join again"


async def test_an_emptied_copy_counts_for_nothing_before_it_is_level(tmp_path: Path) -> None:
    """With two others it is no read quorum, so no writer takes over and forgets what only the absent ones hold.

    With three others it is filled and is then the fourth that a write needs.
    """
    async with aged(tmp_path) as volume:
        await volume.stop("a1", "a2", "c1")
        await volume.lose("b1")
        await volume.start("b1")
        impatient = WriterSettings(takeover_timeout_s=2.0)
        with pytest.raises(QuorumLostError) as lost:
            async with volume.writer(settings=impatient):
                pass
        assert lost.value.joining == ("b1",)
        assert "of which b1 lost their logs and do not count until they are level" in str(lost.value)
        assert "so the volume can do reads of what the answering copies hold; no recovery" in str(lost.value)
        async with volume.client() as client:
            status = await client.status()
        assert (status.answering, status.writable) == (3, False)
        assert {copy.copy: copy.state for copy in status.copies}["b1"] == "joining"

        await volume.start("a1")
        async with volume.writer(settings=PATIENT) as writer:
            assert writer.durable_lsn == 80
            last = await writer.append([b"a zone and a disk were lost"])
            assert last.first_lsn == 81
            assert (await states(volume))["b1"] == "up"
            await volume.start("a2", "c1")
            await eventually(lambda: volume.is_level(81), "all six are level")


async def test_copies_that_were_away_longer_than_the_partition_reaches_back_are_filled(tmp_path: Path) -> None:
    """They have their logs, so they count at once for what they hold, and get the rest from the others."""
    async with aged(tmp_path) as volume:
        await volume.stop("c2")
        async with volume.writer(settings=PATIENT) as writer:
            for record in RECORDS:
                last = await writer.append([record])
            await volume.start("c2")
            await eventually(lambda: volume.is_level(last.last_lsn), "the copy is level")


async def test_a_joining_copy_is_drawn_as_one(tmp_path: Path) -> None:
    """People see why four copies answer and nothing can be written."""
    async with aged(tmp_path) as volume:
        for copy in ("b1", "b2", "c1"):
            await volume.lose(copy)
            await volume.start(copy)
        async with volume.client() as client:
            status = await client.status()
        from rich.console import Console

        console = Console(width=100)
        with console.capture() as captured:
            console.print(drawing.volume(status))
        drawn = captured.get()
        assert drawn.count("joining") == 3
        assert "6 of 6 copies answer (b1, b2, c1 lost their logs and do not count until they are level)" in " ".join(
            drawn.split()
        )
