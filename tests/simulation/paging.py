"""Lives of volumes of pages: writers change pages in place of plain records, and each copy's pages are compared."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.simulation.world import World
from tests.simulation.writer import Writer

from sixfold_events.volume import VolumePagesRequested
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.pages import Kind
from sixfold_functions.volume.pages.store import PageStore

PAGE_BYTES = 512
PAGES = 12
LOOKS = 0.1
"""Chance that a step is followed by a look at pages,"""
FLIPS = 0.02
"""and that a bit of a layer flips before it."""


class Paging:
    """The pages of a world, beside a plain model that keeps every version of each."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._caches: dict[str, dict[int, bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._lsn = 0
        self._versions: dict[int, list[tuple[int, bytes]]] = {}
        self._changes: dict[int, list[pages.Change]] = {}
        self._size: list[tuple[int, int]] = [(0, 0)]
        world.payloads = self._payloads
        broken = world.writer_made

        def made(writer: Writer) -> None:
            writer.outlet.low_water = self._low_water
            writer.outlet.held = lambda low_water_lsn: (min(low_water_lsn, self.held_lsn()), 0)
            broken(writer)

        world.writer_made = made
        self.mark = 0
        """The highest low-water mark that was told."""
        self.held_lsn: Callable[[], int] = lambda: 0
        """Up to where the backup is."""
        self.readers: Callable[[], list[int]] = list
        """At which LSNs replicas read."""
        self._flipped: set[str] = set()
        """Copies of which a bit of a layer flipped, and that did not begin anew since."""
        world.page_store = partial(PageStore, tail_bytes_max=4_000, image_bytes_min=8_000)
        for copy in world.copies.values():
            copy.pages.make = world.page_store

    # -- writing ---------------------------------------------------------------------------------------------------

    def _payloads(self, writer: Writer, count: int) -> list[bytes]:
        """What a writer appends: images of pages that it has not written yet, else deltas, and sizes now and then."""
        rng, found = self._rng, []
        if writer.sequencer.last_lsn == 0 and not writer.count:
            found.append(pages.format_record(PAGE_BYTES))
        cache = self._caches.setdefault(writer.name, {})
        while len(found) < count:
            size = self._sizes.setdefault(writer.name, 0)
            if not size or rng.random() < 0.05:
                size = self._sizes[writer.name] = rng.randrange(1, PAGES)
                for page in [page for page in cache if page >= size]:
                    del cache[page]
                found.append(pages.size_record(size))
                continue
            page = rng.randrange(size)
            after = bytearray(cache.get(page, bytes(PAGE_BYTES)))
            at = rng.randrange(PAGE_BYTES - 8)
            after[at : at + 8] = rng.randbytes(8)
            found.append(pages.change_record(page, cache.get(page), bytes(after))[0])
            cache[page] = bytes(after)
        return found

    def _low_water(self, durable_lsn: int) -> int:
        self.mark = max(self.mark, min([durable_lsn, *self.readers()]))
        return self.mark

    # -- comparing -------------------------------------------------------------------------------------------------

    def look(self, settled: dict[int, bytes]) -> str:
        """What is wrong with the pages of some copy at some point; empty where nothing is."""
        if found := self._look_at_floors():
            return found
        if self._rng.random() > LOOKS:
            return ""
        self._learn(settled)
        here = sorted(name for name, copy in self._world.copies.items() if copy.pages.store is not None)
        if not here:
            return ""
        name = self._rng.choice(here)
        copy = self._world.copies[name]
        store = copy.pages.store
        assert store is not None
        if self._rng.random() < FLIPS:
            self._flip(name)
        upto = min(copy.node.settled_lsn, self._lsn)
        if upto < max(store.readable_from_lsn, copy.floor_lsn) or not upto:
            return ""
        at = self._rng.randrange(max(store.readable_from_lsn, 1), upto + 1)
        asked = self._rng.sample(range(PAGES), 2)
        request = VolumePagesRequested(
            volume="default", copy=name, request_id="", pages=asked, lsn=at, epoch=copy.node.log_epoch
        )
        answer = copy.pages.answer(request)
        if answer.error:
            self._world.hits["page not readable"] += 1
            return ""
        self._world.hits["page compared"] += len(asked)
        for page, content in zip(asked, answer.contents, strict=True):
            if content != self._page(page, at):
                return f"page {page} of {name} at LSN {at} is not what the records up to there make of it"
        return ""

    def _look_at_floors(self) -> str:
        """No copy let go of a record that a reader, a backup or its own pages need."""
        for name, copy in self._world.copies.items():
            floor_lsn, begun = copy.floor_lsn, name in self._world.afresh
            if floor_lsn > min(self.mark, self.held_lsn()) and not begun:
                return f"{name} keeps records above LSN {floor_lsn}, {self.mark} is the low-water mark, {self.held_lsn()} is backed up"
            if copy.pages.lacking and name not in self._flipped:
                return f"{name} has no pages of records up to LSN {floor_lsn}, which it let go"
        return ""

    def _flip(self, name: str) -> None:
        disk = self._world.disks[name]
        folder = Path("/volume") / name / "pages"
        layers = [folder / each for each in disk.names(folder) if each.endswith(".layer")]
        if layers:
            path = self._rng.choice(layers)
            disk.damage(path, self._rng.randrange(disk.size(path)))
            self._world.hits["bit of a layer flipped"] += 1
            self._flipped.add(name)

    def _learn(self, settled: dict[int, bytes]) -> None:
        while (record := settled.get(self._lsn + 1)) is not None:
            self._lsn += 1
            change = pages.parse(self._lsn, record)
            if change.kind is Kind.SIZE:
                self._size.append((self._lsn, change.page))
                for page in [page for page in self._changes if page >= change.page]:
                    del self._changes[page]
                    self._versions[page].append((self._lsn, bytes(PAGE_BYTES)))
            elif change.kind is not Kind.FORMAT:
                known = self._changes.setdefault(change.page, [])
                known.append(change)
                content = pages.fold(known, PAGE_BYTES)
                self._changes[change.page] = [pages.image_of(self._lsn, change.page, content)]
                self._versions.setdefault(change.page, []).append((self._lsn, content))

    def _page(self, page: int, at: int) -> bytes:
        size = next(size for lsn, size in reversed(self._size) if lsn <= at)
        if page >= size:
            return b""
        found = (content for lsn, content in reversed(self._versions.get(page, [])) if lsn <= at)
        return next(found, bytes(PAGE_BYTES))


def applied(records: list[bytes]) -> tuple[int, dict[int, bytes]]:
    """What page records make, one after the other."""
    size = 0
    content: dict[int, bytes] = {}
    for record in records:
        change = pages.parse(1, record)
        if change.kind is Kind.SIZE:
            size = change.page
            content = {page: each for page, each in content.items() if page < size}
        elif change.kind is not Kind.FORMAT:
            body = zlib.decompress(change.body)
            before = content.get(change.page, bytes(PAGE_BYTES))
            xored = bytes(one ^ other for one, other in zip(before, body, strict=True))
            content[change.page] = body if change.kind is Kind.IMAGE else xored
    return size, content
