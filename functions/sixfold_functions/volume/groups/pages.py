"""Pages of a volume that is spread over groups: `async with GroupedPageVolume(writer) as volume: …`, as `PageVolume`.

A page is read from its own group, at the LSN that the group had at the volume's read point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sixfold_functions.volume.groups.writer import GroupedWriter
from sixfold_functions.volume.pages.asking import PageReader
from sixfold_functions.volume.pages.volume import PageVolume, PageVolumeError

FIRST_PART_LSNS = 2
"""The format and the plan's label, with which each group begins."""


class GroupedPageVolume(PageVolume):
    """Reads and writes pages of the volume that `writer` writes, whose plan says their size."""

    def __init__(self, writer: GroupedWriter) -> None:
        if not writer.plan.page_bytes:
            raise PageVolumeError(f"volume {writer.volume} was made for plain records, not for pages")
        super().__init__(writer, page_bytes=writer.plan.page_bytes)
        self._groups = writer
        self._readers = {group.number: PageReader(group) for group in writer.groups}

    async def __aenter__(self) -> Self:
        self.size, _ = await self._ask([], self._groups.durable_lsn)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.clear()

    async def _ask(self, pages: Sequence[int], lsn: int) -> tuple[int, list[bytes]]:
        """As many of `pages` as came, from the first on, and how many there are in all."""
        places = self._groups.read_points.at(lsn)
        if min(places.values()) <= FIRST_PART_LSNS:  # the first commit says the size, to all groups
            return 0, [b""] * len(pages)
        asked: dict[int, list[int]] = {}
        for page in pages or [0]:
            asked.setdefault(self._groups.plan.group_of(page), []).append(page)
        answers = await asyncio.gather(
            *(self._readers[number].ask(asked[number] if pages else [], places[number]) for number in asked)
        )
        found: dict[int, bytes] = {}
        for number, (_, contents) in zip(asked, answers, strict=True):
            found.update(zip(asked[number], contents, strict=False))
        came = next((index for index, page in enumerate(pages) if page not in found), len(pages))
        return answers[0][0], [found[page] for page in pages[:came]]
