"""A volume of pages, for the process that writes it: `commit` pages atomically, `read` them at a read point.

async with VolumeWriter(bus, registry=registry, name="engine", volume="data") as writer:
    async with PageVolume(writer, page_bytes=4096) as pages:
        done = await pages.commit({0: header, 7: leaf})
        [leaf] = await pages.read([7], at=done.last_lsn)
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from sixfold_functions.volume import errors
from sixfold_functions.volume.core import pages as records
from sixfold_functions.volume.core.pages import Kind
from sixfold_functions.volume.pages.asking import PageReader
from sixfold_functions.volume.pages.asking import PagesUnreadableError as PagesUnreadableError
from sixfold_functions.volume.settings import AppendResult
from sixfold_functions.volume.writer import VolumeWriter

CACHED_PAGES_MAX = 16_384
"""Pages that are kept to make deltas against, 64 MiB of 4,096 bytes; another page goes out whole."""
CHAIN_MAX = 32
"""Deltas in a row of one page; then it goes out whole, so that no read has more to put together."""
ASKED_PAGES_MAX = 1_000


class PageVolumeError(errors.VolumeError):
    """The volume cannot be used for pages, or not any more by this object."""


class _Cached(NamedTuple):
    content: bytes
    chain: int


class Pages(Protocol):
    """The writer of a volume that brings a `PageVolume` of its own, which asks for pages where they are."""

    volume: str

    @property
    def durable_lsn(self) -> int:
        """VDL."""

    @property
    def read_points(self) -> ReadPoints:
        """Who reads at which LSN."""

    def refusal(self, records: Sequence[bytes]) -> str:
        """Why an append of `records` cannot be taken; empty if it can."""

    async def append(self, records: Sequence[bytes], *, timeout_s: float | None = None) -> AppendResult:
        """Append `records` as one unit."""


class ReadPoints(Protocol):
    """As `readpoints.ReadPointKeeper`."""

    def reading(self, lsn: int) -> contextlib.AbstractContextManager[int]:
        """Keep the state at `lsn` readable while the block runs."""


class PageVolume:
    """The pages of a writer's volume. Use as an async context manager; an empty volume becomes one of pages.

    `page_bytes` is 512 to 65,536, a power of two. Raises PageVolumeError where the volume holds something else.
    """

    def __init__(self, writer: VolumeWriter | Pages, *, page_bytes: int = 4096) -> None:
        self.page_bytes = page_bytes
        self.size = 0
        """Pages of the volume, as of the last commit that began."""
        self._writer = writer
        self._cache: collections.OrderedDict[int, _Cached] = collections.OrderedDict()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        writer = self._writer
        assert isinstance(writer, VolumeWriter)
        try:
            first = records.format_record(self.page_bytes)
        except records.PageError as error:
            raise PageVolumeError(str(error)) from None
        if writer.durable_lsn == 0:
            await writer.append([first])
            return self
        found = await PageReader(writer).page_bytes()
        if found != self.page_bytes:
            holds = f"pages of {found} bytes" if found else "plain records"
            raise PageVolumeError(
                f"volume {writer.volume}: expected pages of {self.page_bytes} bytes, found {holds}; use another volume"
            )
        self.size, _ = await self._ask([], writer.durable_lsn)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.clear()

    async def commit(
        self, pages: Mapping[int, bytes], *, size: int | None = None, timeout_s: float | None = None
    ) -> AppendResult:
        """Write whole pages as one unit; returns once four copies have them. Readers see all of it or nothing.

        `size` is how many pages the volume has then: pages beyond are gone, and come back as zeros. By default it grows
        as far as the pages need. Commits may overlap; they take effect in the order in which they are called. Raises
        ValueError for a page of another size or beyond `size`, VolumeLimitError (in both nothing was written);
        QuorumLostError, StaleWriterError: the outcome is not known, and the object can be used no more.
        """
        if self._failure is not None:
            raise PageVolumeError(
                f"volume {self._writer.volume}: an earlier commit failed ({self._failure}); what is durable is not known "
                "here any more. Take the volume over with a new writer"
            )
        new_size = max(self.size, max(pages, default=-1) + 1) if size is None else size
        changes, cached = self._records(pages, new_size)
        if refusal := self._writer.refusal(changes):
            raise errors.VolumeLimitError(f"volume {self._writer.volume}: {refusal}")
        self._remember(cached, new_size)
        try:
            return await self._writer.append(changes, timeout_s=timeout_s)
        except BaseException as error:
            self._failure = error
            raise

    def _records(self, pages: Mapping[int, bytes], size: int) -> tuple[list[bytes], dict[int, _Cached]]:
        changes = [records.size_record(size)] if size != self.size or not pages else []
        cached: dict[int, _Cached] = {}
        for page, content in sorted(pages.items()):
            if len(content) != self.page_bytes or not 0 <= page < min(size, records.PAGES_MAX):
                raise ValueError(
                    f"page {page} with {len(content)} bytes: expected {self.page_bytes} bytes, and a number below {size}"
                )
            before = self._cache.get(page)
            known = before.content if before is not None and before.chain < CHAIN_MAX else None
            change, kind = records.change_record(page, known, content)
            changes.append(change)
            chain = before.chain + 1 if before is not None and kind is Kind.DELTA else 0
            cached[page] = _Cached(content, chain)
        return changes, cached

    def _remember(self, cached: dict[int, _Cached], size: int) -> None:
        if size < self.size:
            for page in [page for page in self._cache if page >= size]:
                del self._cache[page]
        self.size = size
        for page, each in cached.items():
            self._cache[page] = each
            self._cache.move_to_end(page)
        while len(self._cache) > CACHED_PAGES_MAX:
            self._cache.popitem(last=False)

    async def read(self, pages: Sequence[int], *, at: int | None = None) -> list[bytes]:
        """The pages as they are at the read point `at`, by default all that is durable now.

        From one copy that has everything up to there; no quorum. Empty bytes for a page beyond the end, zeros for one
        that was never written. Older states are kept for ten seconds; to read one for longer, read inside
        `with writer.read_points.reading(lsn)`. Raises ReadPointLostError for one that is not kept, PagesUnreadableError.
        """
        found: list[bytes] = []
        lsn = self._writer.durable_lsn if at is None else at
        with self._writer.read_points.reading(lsn):
            while len(found) < len(pages):
                asked = pages[len(found) : len(found) + ASKED_PAGES_MAX]
                found += (await self._ask(asked, lsn))[1]
        return found

    async def _ask(self, pages: Sequence[int], lsn: int) -> tuple[int, list[bytes]]:
        assert isinstance(self._writer, VolumeWriter)
        return await PageReader(self._writer).ask(pages, lsn)
