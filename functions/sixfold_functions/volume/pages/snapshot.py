"""All pages of a volume as they are at one LSN: a copy gives them part by part, whoever begins anew makes a layer of them.

What is at or below what a copy knows to be settled is durable, and the same in every copy. So parts may come from
several of them, and one that is lost is asked for again.
"""

from __future__ import annotations

import msgspec

from sixfold_events.volume import VolumeSnapshotAnswered, VolumeSnapshotRequested
from sixfold_functions.volume import files
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.pages import SIZE_PAGE, Change, Kind
from sixfold_functions.volume.core.prefix import End
from sixfold_functions.volume.pages import feeding
from sixfold_functions.volume.pages import layer as layers
from sixfold_functions.volume.pages.store import PageStore

PART_BYTES_MAX = 600_000
"""Of the bodies in one answer, below a topic's record limit with all else in it; there is always one page."""
PAGE_HEAD_BYTES = 40
"""What a page takes in an answer beside its body, at most."""


class SnapshotDamagedError(ValueError):
    """A part is not what it should be; it is asked for again, from another copy."""


def answer(
    copy_pages: feeding.CopyPages, request: VolumeSnapshotRequested, *, part_bytes_max: int = PART_BYTES_MAX
) -> VolumeSnapshotAnswered:
    """A part of the pages of a copy, or why it cannot give it."""
    node, store = copy_pages.node, copy_pages.store
    status, began = node.acknowledgement(), node.beginning
    found = VolumeSnapshotAnswered(
        volume=request.volume,
        copy=status.copy,
        request_id=request.request_id,
        status=status,
        lsn=request.lsn,
        began_lsn=-1 if began is None else began.durable_lsn,
        began_source_epoch=0 if began is None else began.source_epoch,
        began_upper_lsn=0 if began is None else began.upper_lsn,
    )
    if store is None or copy_pages.lacking or not store.lsn:
        return msgspec.structs.replace(found, error=f"{copy_pages.label} has no pages to give; ask another copy")
    if not request.lsn:
        end = store.end
        found = msgspec.structs.replace(
            found,
            lsn=end.last_lsn,
            origin_epoch=end.origin_epoch,
            consistent_lsn=end.consistent_lsn,
            consistent_epoch=end.consistent_epoch,
            append_offset=end.append_offset,
        )
    if not store.readable_from_lsn <= found.lsn <= store.lsn:
        error = (
            f"{copy_pages.label} has pages as they were at LSN {store.readable_from_lsn} to {store.lsn}, not at LSN "
            f"{found.lsn}; ask another copy, or begin anew with the newest"
        )
        return msgspec.structs.replace(found, error=error)
    try:
        return _part(store, found, request.first_page, part_bytes_max)
    except (layers.LayerDamagedError, pages.PageError) as damage:
        if isinstance(damage, layers.LayerDamagedError):
            copy_pages.on_damage(damage)
        return msgspec.structs.replace(found, error=f"{copy_pages.label}: {damage}")


def _part(store: PageStore, found: VolumeSnapshotAnswered, first_page: int, bytes_max: int) -> VolumeSnapshotAnswered:
    part: list[Change] = []
    room, next_page = bytes_max, -1
    for change in store.scan(first_page, found.lsn):
        room -= len(change.body) + PAGE_HEAD_BYTES
        if part and room < 0:
            next_page = change.page
            break
        part.append(change)
    return msgspec.structs.replace(
        found,
        page_bytes=store.page_bytes,
        size=store.size_at(found.lsn),
        pages=[change.page for change in part],
        lsns=[change.lsn for change in part],
        checks=[change.check for change in part],
        bodies=[change.body for change in part],
        next_page=next_page,
    )


def contents(part: VolumeSnapshotAnswered) -> list[tuple[Change, bytes]]:
    """The pages of a part, checked. Raises SnapshotDamagedError."""
    found: list[tuple[Change, bytes]] = []
    try:
        for page, lsn, check, body in zip(part.pages, part.lsns, part.checks, part.bodies, strict=True):
            change = Change(lsn, Kind.IMAGE, page, check, body)
            if (found and page <= found[-1][0].page) or page >= part.size or lsn > part.lsn:
                raise SnapshotDamagedError(f"copy {part.copy} gave page {page} out of order")
            found.append((change, pages.fold([change], part.page_bytes)))
    except (pages.PageDamagedError, ValueError) as error:
        raise SnapshotDamagedError(f"copy {part.copy}: {error}") from error
    if found and -1 < part.next_page <= found[-1][0].page:
        raise SnapshotDamagedError(
            f"copy {part.copy} ends with page {found[-1][0].page} and goes on at {part.next_page}"
        )
    return found


class Receiving:
    """Makes an image layer of parts, in a copy's folder. Raises LogFailedError."""

    def __init__(self, place: layers.Place, first: VolumeSnapshotAnswered) -> None:
        self.end = End(first.lsn, first.origin_epoch, first.consistent_lsn, first.consistent_epoch, first.append_offset)
        self.page_bytes = first.page_bytes
        self.word = first
        """The part whose copy is in the newest epoch: there, and in any that follows, all of it is durable."""
        self.next_page = 0
        """The next part begins with the first page from here on; -1 where all are there."""
        self._size = first.size
        try:
            place.disk.make_folder(place.folder)
        except OSError as error:
            raise files.failure(error, place.folder, place.label) from error
        self._writer = layers.LayerWriter(place, layers.Range(0, self.end, first.size, image=True), first.page_bytes)

    def take(self, part: VolumeSnapshotAnswered) -> None:
        """Take the next part. Raises SnapshotDamagedError: nothing of it was taken."""
        if (part.lsn, part.page_bytes, part.size) != (self.end.last_lsn, self.page_bytes, self._size):
            raise SnapshotDamagedError(f"copy {part.copy} gave pages of another state, at LSN {part.lsn}")
        found = contents(part)
        if found and found[0][0].page < self.next_page:
            raise SnapshotDamagedError(f"copy {part.copy} gave page {found[0][0].page} twice")
        for change, content in found:
            if content.strip(b"\0"):  # one of zeros is as one that was never written
                self._writer.add(change)
        self.next_page = part.next_page
        if part.status.epoch >= self.word.status.epoch:
            self.word = part

    def finish(self) -> str:
        """All parts are there: the layer gets its name, synced, which is returned."""
        assert self.next_page == -1
        self._writer.add(Change(self.end.last_lsn, Kind.SIZE, SIZE_PAGE, 0, self._size.to_bytes(8, "big")))
        return self._writer.finish([])

    def give_up(self) -> None:
        """Leave what was begun; the next start takes it away."""
        self._writer.give_up()
