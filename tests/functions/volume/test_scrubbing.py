"""Running copies read their logs back and mend what is damaged, on a real embedded bus with real folders."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rich.console import Console
from tests.functions.volume import inside
from tests.functions.volume.test_rejoining import PATIENT
from tests.support.waiting import eventually

from sixfold import errors
from sixfold.process import Process
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import drawing, frames, reader, scrub_command, scrubber, segments
from sixfold_functions.volume.core import layout

RECORDS = [f"record {number} ".encode() * 90 for number in range(80)]
SEGMENT_BYTES = 8_000


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many full segments after a few records."""
    made = copies.Copy.__init__

    def small(self: copies.Copy, *args: object, **named: object) -> None:
        made(self, *args, **{**named, "segment_bytes_max": SEGMENT_BYTES})  # type: ignore[arg-type]

    monkeypatch.setattr(copies.Copy, "__init__", small)


async def written(volume: inside.InsideVolume) -> None:
    """All six copies have all records, and know that they are durable."""
    async with volume.writer(settings=PATIENT) as writer:
        for record in RECORDS:
            await writer.append([record])
        await eventually(lambda: volume.is_level(len(RECORDS)), "all have all", 60.0)

        async def settled() -> bool:
            async with volume.client() as client:
                found = await client._reader.ask_all()
            return all(answer.status.settled_lsn == len(RECORDS) for answer in found.values())

        await eventually(settled, "all know that all is durable", 60.0)


def rot(path: Path, seed: int = 1) -> bytes:
    """Flip a bit of a batch in a segment; what the file was."""
    before = path.read_bytes()
    starts = [0]
    while (frame := frames.decode(before, starts[-1])) is not None:
        starts.append(starts[-1] + frame.size)
    position = random.Random(seed).randrange(starts[1], starts[-2])
    with path.open("r+b") as file:
        file.seek(position)
        file.write(bytes([before[position] ^ 0x40]))
    return before


async def scrubbed(volume: inside.InsideVolume, *names: str) -> dict[str, scrub_command.Result]:
    process = Process(name="test", data_dir=volume.data_dir, registry=volume.registry, bus=volume.bus)
    words: list[int] = []
    said = await scrub_command.ask(process, list(names), lambda report: words.append(report.read_bytes))
    assert words
    return {name: scrub_command.result_of(name, said.get(name)) for name in names}


async def state_of(volume: inside.InsideVolume, copy: str) -> tuple[str, int]:
    async with volume.client() as client:
        found = await client.status()
    return next((each.state, each.damaged) for each in found.copies if each.copy == copy)


async def test_a_bit_flipped_in_a_running_copy_is_mended_by_a_scrub(tmp_path: Path) -> None:
    """The bytes of the file are right again, and all other copies are whole."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        await written(volume)
        path = volume.folder("b1") / "00000004.seg"
        before = rot(path)
        found = await scrubbed(volume, *layout.COPIES)
        assert (found["b1"].state, found["b1"].damaged, found["b1"].mended) == ("mended", 1, 1)
        assert {copy: each.state for copy, each in found.items() if copy != "b1"} == dict.fromkeys(
            [copy for copy in layout.COPIES if copy != "b1"], "whole"
        )
        after = path.read_bytes()
        assert len(after) == len(before)
        log = segments.SegmentLog(disks.OsDisk(), volume.folder("b1"), label="copy b1 of volume default")
        assert sum(1 for _ in log.replay(whole=True)) > len(RECORDS), "the whole log is readable from its beginning"
        log.close()
        async with volume.client() as client:
            assert (await client.read(1, 1000, copy="b1", timeout_s=10.0)).payloads == RECORDS
        assert await state_of(volume, "b1") == ("up", 0)
        await volume.stop("b1")
        await volume.start("b1")
        async with volume.client() as client:
            assert (await client.read(1, 1000, copy="b1", timeout_s=10.0)).payloads == RECORDS


async def test_damage_that_nobody_can_mend_is_shown_until_somebody_can(tmp_path: Path) -> None:
    """With the other copies down it says who is needed; once they are back it is mended by itself."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        await written(volume)
        rot(volume.folder("a2") / "00000003.seg")
        others = [copy for copy in layout.COPIES if copy != "a2"]
        await volume.stop(*others)
        found = await scrubbed(volume, "a2")
        assert (found["a2"].state, found["a2"].damaged, found["a2"].mended) == ("damaged", 1, 0)
        assert "start the others: sixfold volume start all" in found["a2"].error
        assert await state_of(volume, "a2") == ("damaged", 1)
        async with volume.client() as client:
            console = Console(width=100)
            with console.capture() as captured:
                console.print(drawing.volume(await client.status()))
        assert "damaged" in captured.get()
        await volume.start(*others)
        assert (await scrubbed(volume, "a2"))["a2"].state == "mended"
        assert await state_of(volume, "a2") == ("up", 0)


async def test_damage_that_a_reader_finds_is_mended_without_being_asked_for(tmp_path: Path) -> None:
    """In the index as well, which is made anew from the segments; the copy serves all the time."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        await written(volume)
        rot(volume.folder("c1") / "00000002.seg", seed=3)
        rot(volume.folder("c1") / "00000005.seg", seed=4)

        async def read() -> bool:
            async with volume.client() as client:
                try:
                    return (await client.read(1, 1000, copy="c1", timeout_s=10.0)).payloads == RECORDS
                except reader.CopyDamagedError:
                    return False

        await eventually(read, "readers get everything again", 60.0)
        await volume.stop("c1")  # so that all rows are in the file
        with (volume.folder("c1") / "index").open("r+b") as file:
            file.seek(45)
            file.write(b"rot")
        await volume.start("c1")
        await eventually(read, "readers get everything again, and the row is right", 60.0)


async def test_a_reading_in_the_background_finds_what_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fast as it is told to, over and over."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        await written(volume)
        await volume.stop("b2")
        path = volume.folder("b2") / "00000006.seg"
        rot(path)
        damaged = path.read_bytes()
        pace = scrubber.Pace(bytes_per_s_max=1e9, bytes_per_s_min=1e9, period_s=0.2)
        monkeypatch.setattr(scrubber, "pace_of", lambda mb_per_s: pace)
        await volume.start("b2")
        await eventually(lambda: path.read_bytes() != damaged, "it is mended", 60.0)


async def test_a_copy_that_is_down_does_not_answer(tmp_path: Path) -> None:
    """The command says which one, and what to do."""
    assert scrub_command.result_of("a1", None).state == "no answer"
    assert "sixfold volume start a1" in scrub_command.result_of("a1", None).error


@pytest.mark.parametrize(("given", "rate"), [(None, 4 * 1024 * 1024), ("0", 0.0), ("2.5", 2_500_000.0)])
def test_the_pace_is_an_option(given: str | None, rate: float) -> None:
    """In megabytes a second; 0 for never."""
    assert scrubber.pace_of(given).bytes_per_s_max == rate


@pytest.mark.parametrize("given", ["fast", "-1", "nan", "1e9"])
def test_a_pace_that_is_none_is_refused(given: str) -> None:
    """With what was expected."""
    with pytest.raises(errors.UsageError, match="expected how many megabytes a second"):
        scrubber.pace_of(given)
