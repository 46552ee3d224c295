"""The pages of one copy: from settled page records to pages at any read point that is still kept.

What is settled waits in memory (`Tail`), is written as delta layers, which are merged eight by eight, and becomes a new
image layer once the deltas below the low-water mark are half as large as the image before: a byte is written about five
times. All work is done in short steps between batches, a flush beside a longer merge. Everything is derived from the
segment log: what no layer has is fed again after a start, and all of it where a layer is damaged.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.pages import SIZE_PAGE, Change, Kind, Shrink
from sixfold_functions.volume.core.prefix import End, Entry
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.pages import layer as layers
from sixfold_functions.volume.pages.tail import Tail

TAIL_BYTES_MAX = 8 * 1024 * 1024
"""Of changes in memory; then they become a delta layer. While one is written twice as many may gather."""
MERGE_LAYERS = 8
IMAGE_BYTES_MIN = 32 * 1024 * 1024
"""Deltas below this are never worth a new image."""
STEP_ENTRIES = 256
"""Changes that one step of work handles, about a millisecond."""


Job = Generator[None, None, None]
_OVER = object()


class PageStore:
    """Pages of a copy in `folder`. Call `open`, then `feed` everything settled above `lsn`, in order."""

    def __init__(
        self,
        disk: disks.Disk,
        folder: Path,
        *,
        label: str,
        page_bytes: int,
        keyring: Keyring | None = None,
        tail_bytes_max: int = TAIL_BYTES_MAX,
        image_bytes_min: int = IMAGE_BYTES_MIN,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._label = label
        self._keyring = keyring or Keyring()
        self._place = layers.Place(disk, folder, label, self._keyring)
        self._tail_bytes_max = tail_bytes_max
        self._image_bytes_min = image_bytes_min
        self.page_bytes = page_bytes
        self.low_water_lsn = 0
        """Nobody reads at a point below this any more; it rises only."""
        self._image: layers.Layer | None = None
        self._deltas: list[layers.Layer] = []
        """Without a gap, the first continues the image."""
        self._frozen: Tail | None = None
        self._tail = Tail(End())
        self._flushing: Job | None = None
        self._merging: Job | None = None
        self.damaged = False
        """Whether a layer is known to be damaged that cannot be made anew from the log."""
        self.written_bytes = 0
        """Of all layers since the start, for measurements."""

    @property
    def end(self) -> End:
        """What is true of the volume at `lsn`."""
        return self._tail.end

    @property
    def lsn(self) -> int:
        """Everything up to here is in."""
        return self._tail.end.last_lsn

    @property
    def layered_lsn(self) -> int:
        """Everything up to here is in layers, synced."""
        return (self._frozen or self._tail).from_end.last_lsn

    @property
    def readable_from_lsn(self) -> int:
        """Lowest read point that is kept."""
        return self._image.footer.to_lsn if self._image is not None else 0

    # -- starting --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find the layers; from a damaged one on they are taken away, to be made anew."""
        self._disk.make_folder(self._folder)
        found: list[layers.Layer] = []
        for name in self._disk.names(self._folder):
            if name.endswith(layers.UNFINISHED):
                self._remove(name)
            elif name.endswith(layers.SUFFIX):
                try:
                    found.append(layers.Layer(self._place, name))
                except layers.LayerDamagedError:
                    self._remove(name)
        images = [each for each in found if each.footer.image]
        self._image = max(images, key=lambda each: each.footer.to_lsn, default=None)
        end = self._image.footer.end if self._image is not None else End()
        deltas = [each for each in found if not each.footer.image]
        while following := [each for each in deltas if each.footer.from_lsn == end.last_lsn < each.footer.to_lsn]:
            self._deltas.append(max(following, key=lambda each: each.footer.to_lsn))
            end = self._deltas[-1].footer.end
        for each in found:
            if each not in self._layers():  # a merge was done, and its inputs not yet taken away
                self._drop(each)
        self._tail = Tail(end, self._layers()[-1].footer.size if self._layers() else 0)

    def reset(self) -> None:
        """Forget everything: a layer is damaged, and all is to be fed again."""
        self._begin_with(None)

    def adopt(self, name: str) -> None:
        """Go on from the image layer `name`, which lies in the folder, in place of all others. Raises LayerDamagedError."""
        self._begin_with(layers.Layer(self._place, name))

    def _begin_with(self, image: layers.Layer | None) -> None:
        for job in (self._flushing, self._merging):
            _end(job)
        found, self._image, self._deltas = self._layers(), image, []
        self._flushing = self._merging = self._frozen = None
        self.damaged = False
        for each in found:
            if image is not None and each.footer.name == image.footer.name:
                each.close()
            else:
                self._drop(each)
        self._tail = Tail(End()) if image is None else Tail(image.footer.end, image.footer.size)

    def _layers(self) -> list[layers.Layer]:
        return [*([self._image] if self._image is not None else []), *self._deltas]

    def _drop(self, each: layers.Layer) -> None:
        each.close()
        self._remove(each.footer.name)

    def _remove(self, name: str) -> None:
        try:
            self._disk.remove(self._folder / name)
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error

    # -- changes and reads -----------------------------------------------------------------------------------------

    def feed(self, entry: Entry[Any], records: Sequence[bytes]) -> None:
        """Take the records of the settled batch that follows `lsn`. Raises LogFailedError."""
        assert entry.first_lsn == self.lsn + 1, (entry, self.lsn)
        for change in pages.changes(entry.first_lsn, records):
            if change.kind is not Kind.FORMAT:
                self._tail.add(change)
        self._tail.end = self._tail.end.after(entry)
        while self._tail.bytes >= 2 * self._tail_bytes_max:
            self._flush_step()

    def read(self, page: int, at: int, newest: Sequence[Change] = ()) -> bytes:
        """The page at the read point `at`; `newest` are changes above `lsn` that the caller has, oldest first.

        Zeros for one within the volume that was never written, nothing for one beyond its end. Raises PageDamagedError,
        LayerDamagedError.
        """
        if page >= self.size(at, newest):
            return b""
        shrinks = [
            shrink for source in (*self._layers(), self._frozen, self._tail) if source for shrink in source.shrinks
        ]
        shrinks += pages.shrinks_in(newest, self._tail.size)
        after = pages.vanished_at(shrinks, page, at)
        return pages.fold(self._changes(page, after, at, newest), self.page_bytes)

    def size(self, at: int, newest: Sequence[Change] = ()) -> int:
        """How many pages the volume has at the read point `at`."""
        return self._tail.size if self.lsn <= at and not newest else self._size_at(at, newest)

    def size_at(self, at: int) -> int:
        """As `size`, of what the store has."""
        return self._size_at(at, ())

    def _size_at(self, at: int, newest: Sequence[Change]) -> int:
        found = self._changes(SIZE_PAGE, 0, at, newest)
        return int.from_bytes(found[-1].body, "big") if found else 0

    def _changes(self, page: int, after: int, upto: int, newest: Sequence[Change]) -> list[Change]:
        """As few of the changes of a page in the range as its content needs, oldest first."""
        found = [each for each in map(pages.keyed, newest) if each.page == page and after < each.lsn <= upto]
        sources = [self._tail, self._frozen, *reversed(self._layers())]
        for source in sources:
            if found and found[0].kind in (Kind.IMAGE, Kind.SIZE):
                break
            if source is not None:
                found[:0] = source.changes(page, after, upto)
        return found

    def scan(self, first_page: int, at: int) -> Iterator[Change]:
        """The pages from `first_page` on as they are at the read point `at`, not above `lsn`: whole, in order, in one go.

        A page that was never written is left out. Raises PageDamagedError, LayerDamagedError.
        """
        sources = [each for each in (*self._layers(), self._frozen, self._tail) if each is not None]
        shrinks = [shrink for source in sources for shrink in source.shrinks]
        found = [
            (change for change in source.scan(first_page) if change.lsn <= at and change.page != SIZE_PAGE)
            for source in sources
        ]
        return pages.images(found, shrinks, upto=at, size=self.size_at(at), page_bytes=self.page_bytes)

    # -- work ------------------------------------------------------------------------------------------------------

    def work(self) -> bool:
        """Do a step of what is to be done. False where nothing is. Raises LogFailedError, LayerDamagedError."""
        if self._flush_step():
            return True
        if self._merging is None:
            self._merging = self._next_merge()
        if self._merging is None:
            return False
        if _is_over(self._merging):
            self._merging = None
        return True

    def _flush_step(self) -> bool:
        if self._flushing is None and self._tail.bytes >= self._tail_bytes_max:
            self._flushing = self._flush()
        if self._flushing is None:
            return False
        if _is_over(self._flushing):
            self._flushing = None
        return True

    def _next_merge(self) -> Job | None:
        settled = list(itertools.takewhile(lambda each: each.footer.to_lsn <= self.low_water_lsn, self._deltas))
        image_bytes = self._image.bytes if self._image is not None else 0
        if sum(each.bytes for each in settled) >= max(self._image_bytes_min, image_bytes // 2):
            return self._coalesce(settled)
        if (group := _mergeable(self._deltas)) is not None:
            return self._merge(group)
        old = next((each for each in self._layers() if self._is_old(each)), None)
        return self._renew(old) if old is not None else None

    def _is_old(self, layer: layers.Layer) -> bool:
        """Whether it is to be written anew under another data key."""
        current, envelope = self._keyring.current, layer.footer.envelope
        if current is None or not self._keyring.reencrypt:
            return False
        return envelope is None or envelope.data_key != current.blob

    def _renew(self, old: layers.Layer) -> Job:
        about = layers.Range(old.footer.from_lsn, old.footer.end, old.footer.size, image=old.footer.image)
        written = yield from self._write(about, old.scan(), old.shrinks)
        if old is self._image:
            self._image = written
        else:
            self._deltas[self._deltas.index(old)] = written
        old.close()

    def _flush(self) -> Job:
        tail = self._frozen = self._tail
        self._tail = Tail(tail.end, tail.size)
        about = layers.Range(tail.from_end.last_lsn, tail.end, tail.size)
        written = yield from self._write(about, tail.scan(), tail.shrinks)
        self._deltas.append(written)
        self._frozen = None

    def _merge(self, group: list[layers.Layer]) -> Job:
        shrinks = [shrink for each in group for shrink in each.shrinks]
        first, last = group[0].footer, group[-1].footer
        merged = heapq.merge(*(each.scan() for each in group), key=pages.place)
        written = yield from self._write(layers.Range(first.from_lsn, last.end, last.size), merged, shrinks)
        begin = self._deltas.index(group[0])
        self._deltas[begin : begin + len(group)] = [written]
        for each in group:
            self._drop(each)

    def _coalesce(self, group: list[layers.Layer]) -> Job:
        """A new image at the end of `group`, of the one before and the deltas in between."""
        old, last = self._image, group[-1].footer
        inputs = [old, *group] if old is not None else group
        shrinks = [shrink for each in inputs for shrink in each.shrinks]
        sources = [each.scan() for each in inputs]
        folded = pages.images(sources, shrinks, upto=last.to_lsn, size=last.size, page_bytes=self.page_bytes)
        written = yield from self._write(layers.Range(0, last.end, last.size, image=True), folded, [])
        self._image = written
        del self._deltas[: len(group)]
        for each in inputs:
            self._drop(each)

    def _write(
        self, about: layers.Range, changes: Iterable[Change], shrinks: list[Shrink]
    ) -> Generator[None, None, layers.Layer]:
        writer = layers.LayerWriter(self._place, about, self.page_bytes)
        try:
            for number, change in enumerate(changes, 1):
                writer.add(change)
                if number % STEP_ENTRIES == 0:
                    yield
            name = writer.finish(shrinks)
        except BaseException:
            writer.give_up()
            raise
        written = layers.Layer(self._place, name)
        self.written_bytes += written.bytes
        return written

    def close(self) -> None:
        """Close the files; what was not in a layer is in the log."""
        for job in (self._flushing, self._merging):
            _end(job)
        for each in self._layers():
            each.close()


def _is_over(job: Job) -> bool:
    """Do a step of `job`; whether it was the last."""
    return next(job, _OVER) is _OVER


def _end(job: Job | None) -> None:
    if job is not None:
        job.close()


def _mergeable(deltas: list[layers.Layer]) -> list[layers.Layer] | None:
    """The newest deltas, where so many have about the same size: none is larger than all behind it together."""
    if len(deltas) < MERGE_LAYERS:
        return None
    newest = deltas[-MERGE_LAYERS:]
    return newest if newest[0].bytes <= sum(each.bytes for each in newest[1:]) else None
