"""Pages of a volume that is spread over groups."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.volume.groups import inside
from tests.functions.volume.groups.inside import InsideGroups

from sixfold_functions.volume import errors
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups.pages import GroupedPageVolume
from sixfold_functions.volume.readpoints import ReadPointLostError

PAGES = Plan(volume="data", groups=2, stripe=2, page_bytes=512)


def page(number: int, version: int) -> bytes:
    """What a page holds."""
    return f"{number}.{version}".encode().ljust(512, b".")


@contextlib.asynccontextmanager
async def paged(volume: InsideGroups) -> AsyncIterator[GroupedPageVolume]:
    """A writer's pages."""
    async with volume.writer() as writer, GroupedPageVolume(writer) as pages:
        yield pages


async def test_a_commit_over_groups_is_read_whole_at_its_point_and_not_at_the_one_before(tmp_path: Path) -> None:
    """Whatever groups its pages are in, and over a writer that follows."""
    async with inside.opened(tmp_path, PAGES) as volume:
        async with paged(volume) as pages:
            first = await pages.commit({number: page(number, 1) for number in range(7)})
            second = await pages.commit({1: page(1, 2), 2: page(2, 2)})
            numbers = list(range(9))
            assert await pages.read(numbers, at=first.last_lsn) == [*(page(each, 1) for each in range(7)), b"", b""]
            assert await pages.read([0, 1, 2, 3]) == [page(0, 1), page(1, 2), page(2, 2), page(3, 1)]
            shorter = await pages.commit({}, size=2)
            assert await pages.read([1, 2, 5]) == [page(1, 2), b"", b""]
            assert await pages.read([2], at=second.last_lsn) == [page(2, 2)]
        async with paged(volume) as pages:
            assert pages.size == 2
            await pages.commit({5: page(5, 3)})
            assert await pages.read([1, 4, 5]) == [page(1, 2), bytes(512), page(5, 3)]
            with pytest.raises(ReadPointLostError):
                await pages.read([1], at=shorter.last_lsn - 1)


async def test_copies_keep_the_last_part_that_they_were_told_of_whatever_nobody_reads(tmp_path: Path) -> None:
    """By its label a recovery knows where the volume was; all before it may go."""
    async with inside.opened(tmp_path, PAGES) as volume, volume.writer() as writer:
        for group in writer.groups:
            group.read_points.low_water = lambda lsn: lsn  # type: ignore[assignment, method-assign]
        async with GroupedPageVolume(writer) as pages:
            for version in range(3):
                before = [group.durable_lsn for group in writer.groups]
                await pages.commit({number: page(number, version) for number in range(4)})
                assert [group.outlet.low_water(group.durable_lsn) for group in writer.groups] == before
                assert all(group.durable_lsn > lsn for group, lsn in zip(writer.groups, before, strict=True))


async def test_a_volume_of_pages_takes_nothing_else(tmp_path: Path) -> None:
    """A plain record belongs to no group of it."""
    async with inside.opened(tmp_path, PAGES) as volume, volume.writer() as writer:
        with pytest.raises(errors.VolumeLimitError, match="page records only"):
            await writer.append([b"plain"])
