"""Layer files: page changes of a range of LSNs, in the order of pages, written once and never changed.

An *image layer* holds each page as it is at one LSN; a *delta layer* holds the changes of a range. (Neon's terms.)

    file:   blocks | index | shrinks | footer (JSON) | its length u32 | CRC-32 u32 of index, shrinks, footer | magic "S6LY"
    block:  CRC-32 u32 | length u32 | entries, in the order of (page, LSN); encrypted where the copy has a data key
    entry:  page u64 | LSN u64 | kind u8 | CRC-32 u32 of the page | length u32 | body
    index:  one row a block: first page u64, first LSN u64, position u64
    shrink: LSN u64, pages u64

A file has its name once it is whole and synced, so one that does not end with its footer is damaged.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files
from sixfold_functions.volume.core.pages import Change, Kind, Shrink
from sixfold_functions.volume.core.prefix import End
from sixfold_functions.volume.encryption.envelope import OVERHEAD_BYTES, Envelope
from sixfold_functions.volume.encryption.keyring import Keyring, KeyWrongError

_BLOCK = struct.Struct(">II")
_ENTRY = struct.Struct(">QQBII")
_ROW = struct.Struct(">QQQ")
_SHRINK = struct.Struct(">QQ")
_END = struct.Struct(">II4s")
_MAGIC = b"S6LY"
_PURPOSE = b"layer block"
BLOCK_BYTES = 32 * 1024
"""A block is closed beyond this; reading a page reads one block of a layer, mostly."""
SUFFIX = ".layer"
UNFINISHED = ".unfinished"


class LayerDamagedError(files.LogError):
    """A layer is not what was written; it can be made anew from the segment log."""


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What a layer is."""

    page_bytes: int
    from_lsn: int
    """Changes above this; 0 for an image."""
    end: End
    """What is true of the volume at its last LSN."""
    size: int
    """Pages of the volume at its last LSN."""
    image: bool
    envelope: Envelope | None
    """Of the file's key; None for a layer in plain."""
    index_position: int
    blocks: int
    shrinks: int
    entries: int

    @property
    def to_lsn(self) -> int:
        return self.end.last_lsn

    @property
    def name(self) -> str:
        """Of its file."""
        return _name(self.from_lsn, self.to_lsn, image=self.image)


def _name(from_lsn: int, to_lsn: int, *, image: bool) -> str:
    return f"{'image' if image else 'delta'}-{from_lsn:020d}-{to_lsn:020d}{SUFFIX}"


class Range(NamedTuple):
    """What a layer is about."""

    from_lsn: int
    end: End
    size: int
    """Pages of the volume at the end."""
    image: bool = False


class Place(NamedTuple):
    """Where a copy's layers lie."""

    disk: disks.Disk
    folder: Path
    label: str
    """Which copy of which volume."""
    keyring: Keyring

    def sealed_name(self, name: str) -> str:
        """What a layer's envelope is bound to."""
        return f"{self.label}, {name}"


class LayerWriter:
    """Writes a layer, entry by entry; `finish` gives it its name."""

    def __init__(self, place: Place, about: Range, page_bytes: int) -> None:
        self._place = place
        self._about = about
        self._page_bytes = page_bytes
        self._name = _name(about.from_lsn, about.end.last_lsn, image=about.image)
        self._path = place.folder / (self._name + UNFINISHED)
        self._key = place.keyring.begin(place.sealed_name(self._name))
        self._file: disks.File | None = None
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._first: tuple[int, int] = (0, 0)
        self._index: list[bytes] = []
        self._entries = 0
        self._position = 0

    def add(self, change: Change) -> None:
        """Take the next change, in the order of (page, LSN). Raises LogFailedError."""
        if not self._block:
            self._first = (change.page, change.lsn)
        head = _ENTRY.pack(change.page, change.lsn, change.kind, change.check, len(change.body))
        self._block += (head, change.body)
        self._block_bytes += len(head) + len(change.body)
        self._entries += 1
        if self._block_bytes >= BLOCK_BYTES:
            self._close_block()

    def _close_block(self) -> None:
        if self._block:
            body = b"".join(self._block)
            if self._key is not None:
                body = self._key[1].seal(_PURPOSE, self._position, len(self._index), len(body), body)
            self._index.append(_ROW.pack(*self._first, self._position))
            self._append(_BLOCK.pack(zlib.crc32(body), len(body)) + body)
            self._block, self._block_bytes = [], 0

    def _append(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._place.disk.open(self._path, create=True)
                self._file.truncate(0)
            self._file.append(data)
        except OSError as error:
            raise self._failure(error) from error
        self._position += len(data)

    def _failure(self, error: OSError) -> files.LogFailedError:
        return files.failure(error, self._place.folder, self._place.label)

    def finish(self, shrinks: list[Shrink]) -> str:
        """Write index and footer, sync, and give the file its name, which is returned. Raises LogFailedError."""
        self._close_block()
        footer = Footer(
            page_bytes=self._page_bytes,
            from_lsn=self._about.from_lsn,
            end=self._about.end,
            size=self._about.size,
            image=self._about.image,
            envelope=self._key[0] if self._key is not None else None,
            index_position=self._position,
            blocks=len(self._index),
            shrinks=len(shrinks),
            entries=self._entries,
        )
        directory = b"".join(self._index) + b"".join(_SHRINK.pack(*shrink) for shrink in shrinks)
        directory += (about := msgspec.json.encode(footer))
        self._append(directory + _END.pack(len(about), zlib.crc32(directory), _MAGIC))
        assert self._file is not None
        try:
            self._file.fdatasync()
            self._file.close()
            self._place.disk.rename(self._path, self._place.folder / self._name)
            self._place.disk.sync_folder(self._place.folder)
        except OSError as error:
            raise self._failure(error) from error
        return self._name

    def give_up(self) -> None:
        """Close what was begun; the next start takes it away."""
        if self._file is not None:
            self._file.close()
            self._file = None


def footer_of(file: disks.File) -> Footer | None:
    """What a layer's file says it is, in clear; None where its end is not whole. What it says is not checked."""
    end = file.read_at(max(file.size() - _END.size, 0), _END.size)
    size, _, magic = _END.unpack(end) if len(end) == _END.size else (0, 0, b"")
    if magic != _MAGIC or file.size() < _END.size + size:
        return None
    try:
        return msgspec.json.decode(file.read_at(file.size() - _END.size - size, size), type=Footer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Layer:
    """A finished layer, open for reading. Raises LayerDamagedError where it is not what was written."""

    def __init__(self, place: Place, name: str) -> None:
        self._path = place.folder / name
        self._label = place.label
        self._file = place.disk.open(self._path)
        self.bytes = self._file.size()
        self.footer, directory = self._read_directory()
        rows = self.footer.blocks * _ROW.size
        self._index = directory[:rows]
        size = self.footer.shrinks * _SHRINK.size
        self.shrinks = [Shrink(*row) for row in _SHRINK.iter_unpack(directory[rows : rows + size])]
        envelope, self._cipher = self.footer.envelope, None
        if self.footer.name != name:
            raise self._damaged("its name, which is another one's: it")
        if envelope is not None:
            try:
                self._cipher = place.keyring.open(envelope, place.sealed_name(name))
            except KeyWrongError as error:
                raise self._damaged("its envelope") from error

    def _read_directory(self) -> tuple[Footer, bytes]:
        end = self._file.read_at(max(self.bytes - _END.size, 0), _END.size)
        size, check, magic = _END.unpack(end) if len(end) == _END.size else (0, 0, b"")
        position = self.bytes - _END.size - size
        if magic != _MAGIC or position < 0:
            raise self._damaged("its end")
        about = self._file.read_at(position, size)
        try:
            footer = msgspec.json.decode(about, type=Footer)
        except msgspec.DecodeError as error:
            raise self._damaged("its end") from error
        directory = self._file.read_at(footer.index_position, position - footer.index_position)
        sizes = footer.blocks * _ROW.size + footer.shrinks * _SHRINK.size
        if len(directory) != sizes or zlib.crc32(about, zlib.crc32(directory)) != check:
            raise self._damaged("its index")
        return footer, directory

    def _damaged(self, what: str) -> LayerDamagedError:
        return LayerDamagedError(
            f"{self._path}: {what} is damaged, the disk did not keep what was synced ({self._label}); look at the disk. "
            "The pages are made anew from the log; read them from another copy meanwhile"
        )

    def _row(self, number: int) -> tuple[int, int]:
        page, lsn, _ = _ROW.unpack_from(self._index, number * _ROW.size)
        return page, lsn

    def _block(self, number: int) -> Iterator[Change]:
        start: int = _ROW.unpack_from(self._index, number * _ROW.size)[2]
        last = number + 1 == self.footer.blocks
        end = self.footer.index_position if last else _ROW.unpack_from(self._index, (number + 1) * _ROW.size)[2]
        data = self._file.read_at(start, end - start)
        check, size = _BLOCK.unpack_from(data) if len(data) >= _BLOCK.size else (0, -1)
        body = data[_BLOCK.size :]
        if len(body) != size or zlib.crc32(body) != check:
            raise self._damaged(f"the block at byte {start}")
        if self._cipher is not None:
            opened = self._cipher.open(_PURPOSE, start, number, size - OVERHEAD_BYTES, body)
            if opened is None:
                raise self._damaged(f"the block at byte {start}")
            body, size = opened, len(opened)
        position = 0
        while position < size:
            page, lsn, kind, page_check, length = _ENTRY.unpack_from(body, position)
            position += _ENTRY.size
            yield Change(lsn, Kind(kind), page, page_check, body[position : position + length])
            position += length

    def changes(self, page: int, after: int, upto: int) -> list[Change]:
        """Changes of `page` with `after` < LSN <= `upto`, oldest first."""
        first = bisect.bisect_left(range(self.footer.blocks), (page, after + 1), key=self._row)
        found: list[Change] = []
        for number in range(max(first - 1, 0), self.footer.blocks):
            if self._row(number) > (page, upto):
                break
            found += (each for each in self._block(number) if each.page == page and after < each.lsn <= upto)
        return found

    def scan(self, first_page: int = 0) -> Iterator[Change]:
        """Changes of pages from `first_page` on, in the order of (page, LSN)."""
        first = bisect.bisect_left(range(self.footer.blocks), (first_page, 0), key=self._row)
        for number in range(max(first - 1, 0), self.footer.blocks):
            yield from (each for each in self._block(number) if each.page >= first_page)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
