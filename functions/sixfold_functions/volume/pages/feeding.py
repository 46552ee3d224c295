"""Between a copy's log and its pages: feeds what is settled, answers reads of pages.

A copy of a volume of plain records has none of this. Whether a volume holds pages is told by its first record.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sixfold_events.volume import VolumePagesAnswered, VolumePagesRequested, VolumeRedoBatch
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, index
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.node import StorageNode, entry_of
from sixfold_functions.volume.core.prefix import Entry
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.pages import layer as layers
from sixfold_functions.volume.pages.store import PageStore

FOLDER = inventory.PAGES
REMEMBERED_BYTES_MAX = 32 * 1024 * 1024
"""Payloads of batches that are not settled yet; others are read from the log again."""
BEHIND_RECORDS_MAX = 20_000
"""A copy whose pages are further behind what is asked for answers so, and its reader asks another one."""
ANSWER_BYTES_MAX = 700_000
"""Of pages in one answer, so that it stays below a topic's record limit; there is always one page."""


class Log(Protocol):
    """What pages need of their copy."""

    @property
    def node(self) -> StorageNode[index.Place]:
        """Its core."""

    def places(self, first_lsn: int, last_lsn: int) -> Iterator[index.Place]:
        """Of batches with records in the range, in order. Raises LogDamagedError."""

    def batch(self, place: index.Place) -> VolumeRedoBatch:
        """The batch there. Raises LogDamagedError."""

    @property
    def floor_lsn(self) -> int:
        """Records up to here are not kept any more: only pages have them."""


class CopyPages:
    """The pages of the copy with `log`. Call `open` once it is read back."""

    def __init__(
        self,
        disk: disks.Disk,
        folder: Path,
        log: Log,
        *,
        label: str,
        keyring: Keyring,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._log = log
        self.label = label
        self._keyring = keyring
        self.make: Callable[..., PageStore] = PageStore
        self._is_open = False
        self.page_bytes = 0
        """0 for a volume of plain records, or one without any record yet."""
        self.store: PageStore | None = None
        self._remembered: collections.OrderedDict[index.Place, VolumeRedoBatch] = collections.OrderedDict()
        self._remembered_bytes = 0

    def open(self) -> None:
        """Find what there is of the pages, if the volume holds any."""
        self._is_open = True
        self._begin()

    def _begin(self) -> None:
        if self._is_open and self.page_bytes and self.store is None:
            self.store = self.make(
                self._disk,
                self._folder / FOLDER,
                label=self.label,
                page_bytes=self.page_bytes,
                keyring=self._keyring,
            )
            self.store.open()

    @property
    def node(self) -> StorageNode[index.Place]:
        """The copy's core."""
        return self._log.node

    @property
    def layered_lsn(self) -> int:
        """Records up to here are in layers, synced; none where those have to be had from another copy."""
        return self.store.layered_lsn if self.store is not None and not self.lacking else 0

    @property
    def lacking(self) -> bool:
        """Whether layers are damaged, or gone, whose records are not kept any more: another copy has such pages."""
        store, floor_lsn = self.store, self._log.floor_lsn
        return bool(self.page_bytes and floor_lsn) and (store is None or store.damaged or store.lsn < floor_lsn)

    def adopt(self, page_bytes: int, name: str) -> None:
        """Go on from the image layer `name`, which lies in the folder; of what was here before nothing stays."""
        self.page_bytes = page_bytes
        self._begin()
        assert self.store is not None
        self.store.adopt(name)

    @property
    def place(self) -> layers.Place:
        """Where layers lie."""
        return layers.Place(self._disk, self._folder / FOLDER, self.label, self._keyring)

    # -- feeding ---------------------------------------------------------------------------------------------------

    def remember(self, place: index.Place, batch: VolumeRedoBatch) -> None:
        """A batch was taken; it will be settled before long, mostly."""
        if self.store is None and batch.first_lsn != 1:
            return
        self._remembered[place] = batch
        self._remembered_bytes += sum(map(len, batch.payloads))
        while self._remembered_bytes > REMEMBERED_BYTES_MAX:
            self._forget(next(iter(self._remembered)))

    def _forget(self, place: index.Place) -> VolumeRedoBatch | None:
        batch = self._remembered.pop(place, None)
        if batch is not None:
            self._remembered_bytes -= sum(map(len, batch.payloads))
        return batch

    def settled(self, entry: Entry[index.Place]) -> None:
        """A batch is settled. What cannot be taken at once is read from the log later."""
        batch = self._forget(entry.place)
        if entry.first_lsn == 1:
            batch = batch or self._log.batch(entry.place)
            self.page_bytes = pages.page_bytes(batch.payloads[0])
            self._begin()
        if self.store is not None and batch is not None and entry.first_lsn == self.store.lsn + 1:
            self.store.feed(entry, batch.payloads)

    def work(self) -> bool:
        """Do a step of what is to be done. False where nothing is."""
        store, floor_lsn = self.store, self._log.node.prefix.floor_lsn
        if store is None or self.lacking:
            return False
        store.low_water_lsn = self._low_water_lsn()
        try:
            if store.lsn < floor_lsn:
                place = next(self._log.places(store.lsn + 1, store.lsn + 1))
                batch = self._log.batch(place)
                store.feed(entry_of(batch, place), batch.payloads)
                return True
            return store.work()
        except layers.LayerDamagedError as damage:
            self.on_damage(damage)
            return True
        except files.LogDamagedError:
            return False  # whoever reads that part of the log hears of it

    def on_damage(self, damage: layers.LayerDamagedError) -> None:
        """A layer of the store is damaged: make all anew, from the log if that has everything."""
        assert self.store is not None
        log = structlog.get_logger()
        if self._log.floor_lsn:
            self.store.damaged = True  # what else is whole still serves until another copy's pages are here
            log.error(
                "pages are damaged; another copy's are asked for", action="volume.pages.damaged", error=str(damage)
            )
            return
        log.warning("pages are made anew from the log", action="volume.pages.damaged", error=str(damage))
        self.store.reset()

    def _low_water_lsn(self) -> int:
        return min(self._log.node.low_water_lsn, self._log.node.settled_lsn)

    # -- reading ---------------------------------------------------------------------------------------------------

    def answer(self, request: VolumePagesRequested) -> VolumePagesAnswered:
        """The pages that were asked for, as many as fit, as they are at the request's read point."""
        status = self._log.node.acknowledgement()
        found = VolumePagesAnswered(
            volume=request.volume, copy=status.copy, request_id=request.request_id, status=status, lsn=request.lsn
        )
        if refusal := self._refusal(request):
            return msgspec.structs.replace(found, error=refusal)
        store = self.store
        assert store is not None
        contents: list[bytes] = []
        size = 0
        try:
            newest = self._newest(store, request.lsn)
            pages_in_all = store.size(request.lsn, newest)
            for page in request.pages:
                contents.append(store.read(page, request.lsn, newest))
                size += len(contents[-1]) + 10
                if size + store.page_bytes > ANSWER_BYTES_MAX:
                    break
        except (files.LogDamagedError, layers.LayerDamagedError, pages.PageError) as error:
            if isinstance(error, layers.LayerDamagedError):
                self.on_damage(error)
            return msgspec.structs.replace(found, error=f"{self.label}: {error}")
        return msgspec.structs.replace(found, page_bytes=store.page_bytes, size=pages_in_all, contents=contents)

    def _refusal(self, request: VolumePagesRequested) -> str:
        store, readable_lsn = self.store, self._log.node.readable_lsn(request.epoch, request.lsn)
        if readable_lsn < request.lsn:
            return (
                f"{self.label} has the volume up to LSN {readable_lsn} only, not up to {request.lsn}; ask another copy"
            )
        if store is None:
            return f"{self.label}: the volume holds no pages (its first record is no page format)"
        if request.lsn < store.readable_from_lsn:
            return (
                f"{self.label}: pages are kept from LSN {store.readable_from_lsn} on, not as they were at {request.lsn}; "
                "hold a read point for as long as you read (writer.read_points.reading)"
            )
        if store.lsn < self._log.floor_lsn:
            return f"{self.label} lost pages and gets them from another copy; ask that"
        if request.lsn - store.lsn > BEHIND_RECORDS_MAX:
            return f"{self.label} makes its pages anew and has come to LSN {store.lsn}; ask another copy"
        return ""

    def _newest(self, store: PageStore, upto: int) -> list[pages.Change]:
        """Changes above what the store has."""
        found: list[pages.Change] = []
        if upto > store.lsn:
            for place in self._log.places(store.lsn + 1, upto):
                batch = self._remembered.get(place) or self._log.batch(place)
                found += (
                    each for each in pages.changes(batch.first_lsn, batch.payloads) if store.lsn < each.lsn <= upto
                )
        return found

    def close(self) -> None:
        """Close the layers."""
        if self.store is not None:
            self.store.close()
