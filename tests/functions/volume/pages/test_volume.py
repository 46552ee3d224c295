"""Pages on real copies: written atomically, read at a read point from one copy, through restarts and takeovers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.conftest import RealVolume
from tests.support.waiting import eventually

from sixfold_functions.volume import reader
from sixfold_functions.volume.client import PageVolume, PageVolumeError, VolumeLimitError
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.readpoints import ReadPoints
from sixfold_functions.volume.pages.volume import PagesUnreadableError
from sixfold_functions.volume.readpoints import ReadPointLostError

PAGE = 512


def page(text: str) -> bytes:
    """A page that begins with `text`."""
    return text.encode().ljust(PAGE, b".")


async def test_pages_are_read_as_they_were_at_each_commit(volume: RealVolume) -> None:
    """By the writer, through the loss of its process, and with two copies killed."""
    rng = random.Random(5)
    points: dict[int, list[bytes]] = {}
    now: dict[int, bytes] = {}

    async def write(pages: PageVolume, count: int) -> None:
        for number in range(count):
            changed = {rng.randrange(30): page(f"{number} {rng.random()}") for _ in range(3)}
            now.update(changed)
            done = await pages.commit(changed, size=30)
            points[done.last_lsn] = [now.get(each, bytes(PAGE)) for each in range(30)]

    async with volume.writer("one") as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        with writer.read_points.reading(1):
            await write(pages, 20)
            for at, content in points.items():
                assert await pages.read(range(30), at=at) == content
    await volume.fleet.kill("a1")
    await volume.fleet.kill("b2")
    async with volume.writer("two") as writer, PageVolume(writer, page_bytes=PAGE) as pages:
        assert pages.size == 30
        with writer.read_points.reading(1):
            await write(pages, 20)
            for at, content in points.items():
                assert await pages.read(range(30), at=at) == content
        assert await pages.read([29, 30]) == [now.get(29, bytes(PAGE)), b""]


async def test_commits_that_overlap_take_effect_in_their_order(tmp_path: Path) -> None:
    """Each is a delta against the one before, which is not durable yet."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            commits = [pages.commit({0: page(f"version {number}"), 1: page(f"also {number}")}) for number in range(100)]
            done = await asyncio.gather(*commits)
            assert [each.last_lsn for each in done] == sorted(each.last_lsn for each in done)
            with writer.read_points.reading(done[0].last_lsn):
                for number in (0, 31, 32, 33, 99):
                    both = await pages.read([0, 1], at=done[number].last_lsn)
                    assert both == [page(f"version {number}"), page(f"also {number}")]


async def test_a_shrunk_volume_has_lost_its_pages(tmp_path: Path) -> None:
    """They come back as zeros; who reads before it sees them."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            before = await pages.commit({0: page("zero"), 5: page("five")})
            await pages.commit({0: page("less")}, size=1)
            assert await pages.read([0, 5]) == [page("less"), b""]
            await pages.commit({}, size=8)
            assert await pages.read([5, 7, 8]) == [bytes(PAGE), bytes(PAGE), b""]
            assert await pages.read([5], at=before.last_lsn) == [page("five")]


async def test_a_state_that_nobody_holds_is_let_go_after_a_while(tmp_path: Path) -> None:
    """A read of it says so; one that is held stays readable, and its copies make no newer image."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            writer.read_points.points = ReadPoints(patience_s=0.5)
            first = await pages.commit({0: page("first")})
            with writer.read_points.reading(first.last_lsn):

                async def mark() -> int:
                    await pages.commit({0: page("more")})
                    return writer.read_points.points.mark

                await eventually(lambda: _equals(mark, first.last_lsn), "the mark comes up to the reader", 30.0)
                assert await pages.read([0], at=first.last_lsn) == [page("first")]

            async def lost() -> bool:
                return await mark() > first.last_lsn

            await eventually(lost, "the mark passes a state that nobody holds", 30.0)
            with pytest.raises(ReadPointLostError, match=f"reads at LSN {first.last_lsn}"):
                await pages.read([0], at=first.last_lsn)


async def _equals(of: Callable[[], Awaitable[int]], value: int) -> bool:
    return await of() == value


async def test_more_pages_than_an_answer_holds_are_read(tmp_path: Path) -> None:
    """In parts."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=65_536) as pages:
            await pages.commit({number: bytes([number]) * 65_536 for number in range(40)})
            found = await pages.read(range(40))
            assert found == [bytes([number]) * 65_536 for number in range(40)]


async def test_a_copy_without_its_layers_makes_them_anew(tmp_path: Path) -> None:
    """They are derived: removed or damaged, the copy answers as before once it has read its log."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=4096) as pages:
            for number in range(60):
                content = {each: random.Random(f"{number} {each}").randbytes(4096) for each in range(50)}
                done = await pages.commit(content)

            async def has_layers() -> bool:
                await pages.commit({50: bytes(4096)})
                return bool(list((volume.folder("a1") / "pages").glob("*.layer")))

            await eventually(has_layers, "the first layer is written", 60.0)
            await volume.stop("a1", "a2")
            for path in (volume.folder("a1") / "pages").iterdir():
                path.unlink()
            [layer, *_] = (volume.folder("a2") / "pages").glob("*.layer")
            with layer.open("r+b") as file:
                file.seek(100)
                file.write(b"rot")
            await volume.start("a1", "a2")
            for copy in ("a1", "a2"):

                async def right(copy: str = copy) -> bool:
                    try:
                        answer = await writer.reader.ask_pages(
                            copy, range(50), lsn=done.last_lsn, epoch=writer.epoch, timeout_s=10.0
                        )
                    except (reader.CopyUnreachableError, reader.CopyDamagedError):
                        return False  # damage, or not made anew yet
                    return answer.contents == [content[each] for each in range(50)]

                await eventually(right, f"{copy} has its pages again", 60.0)


async def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """With what was expected."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            with pytest.raises(PageVolumeError, match="expected one of 512"):
                await PageVolume(writer, page_bytes=1000).__aenter__()
            async with PageVolume(writer, page_bytes=PAGE) as pages:
                await pages.commit({0: page("kept")})
                with pytest.raises(ValueError, match="expected 512 bytes"):
                    await pages.commit({0: b"short"})
                with pytest.raises(ValueError, match="a number below 1"):
                    await pages.commit({1: page("beyond")}, size=1)
                with pytest.raises(VolumeLimitError):
                    await pages.commit(dict.fromkeys(range(100_001), bytes(PAGE)))
                assert await pages.read([0]) == [page("kept")]
                assert pages.size == 1
                with pytest.raises(PagesUnreadableError, match="no copy has everything"):
                    await pages.read([0], at=writer.durable_lsn + 1)
            with pytest.raises(PageVolumeError, match="expected pages of 4096 bytes, found pages of 512 bytes"):
                await PageVolume(writer).__aenter__()


async def test_a_volume_of_plain_records_is_none_of_pages(tmp_path: Path) -> None:
    """And a plain record among pages changes no page."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            await writer.append([b"plain"])
            with pytest.raises(PageVolumeError, match="found plain records"):
                await PageVolume(writer).__aenter__()


async def test_after_a_commit_with_an_unknown_outcome_the_object_refuses(tmp_path: Path) -> None:
    """What its next deltas would change is not known; a new one goes on with what is durable."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            await pages.commit({0: page("first")})
            await volume.stop("a1", "a2", "b1")
            with pytest.raises(Exception, match="may still become durable"):
                await pages.commit({0: page("second")}, timeout_s=0.5)
            with pytest.raises(PageVolumeError, match="an earlier commit failed"):
                await pages.commit({0: page("third")})
            await volume.start("a1", "a2", "b1")
        async with volume.writer("next") as writer, PageVolume(writer, page_bytes=PAGE) as pages:
            assert await pages.read([0]) in ([page("first")], [page("second")])
            await pages.commit({0: page("fourth")})
            assert await pages.read([0]) == [page("fourth")]
