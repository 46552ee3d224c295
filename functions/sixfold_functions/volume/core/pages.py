"""Page records: what the records of a volume of pages are, and how a page comes of them. Pure.

The first record of such a volume is its format. Every other one changes one page, as a whole image or as a delta against
the page before, or says how many pages the volume has. Each carries the CRC-32 of the page after the change, so a copy
that lost or mixed up a change finds out when it applies the next.

    record: magic "S6PG" | kind u8 | 3 bytes 0 | page u64 | CRC-32 u32 of the page after the change | body
    FORMAT: page is the bytes of a page. SIZE: page is the number of pages. IMAGE: the page, zlib. DELTA: XOR, zlib.
"""

from __future__ import annotations

import contextlib
import enum
import heapq
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_HEAD = struct.Struct(">4sB3xQI")
_MAGIC = b"S6PG"
HEAD_BYTES = _HEAD.size
LEVEL = 1
"""zlib's: a page of a database shrinks to a half, a delta of one row to a hundred bytes (the volume's brief, 3.4)."""
PAGE_BYTES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Bytes that a page may have, as SQLite's."""
SIZE_PAGE = (1 << 64) - 1
"""The number that sizes are kept under, beside the pages'."""
PAGES_MAX = 1 << 40


class PageError(ValueError):
    """Base of what can be wrong with pages."""


class NotAPageRecordError(PageError):
    """A record of the volume is no page record: the volume holds plain records."""


class PageDamagedError(PageError):
    """A page does not come out as its writer had it."""


class Kind(enum.IntEnum):
    """What a record does."""

    FORMAT = 1
    SIZE = 2
    IMAGE = 3
    DELTA = 4


_KINDS = frozenset(Kind)


class Change(NamedTuple):
    """One record."""

    lsn: int
    kind: Kind
    page: int
    check: int
    """CRC-32 of the page after it."""
    body: bytes


def parse(lsn: int, record: bytes) -> Change:
    """The record at `lsn`. Raises NotAPageRecordError."""
    if len(record) < HEAD_BYTES or record[:4] != _MAGIC or record[4] not in _KINDS:
        raise NotAPageRecordError(
            f"LSN {lsn}: expected a page record, found {record[:16]!r}…: the volume holds plain records, or was written "
            "to by something else than a page writer"
        )
    _, kind, page, check = _HEAD.unpack_from(record)
    return Change(lsn, Kind(kind), page, check, record[HEAD_BYTES:])


def changes(first_lsn: int, records: Sequence[bytes]) -> Iterator[Change]:
    """Those of a batch, in order. What is no page record has no part in any page and is passed over."""
    for lsn, record in enumerate(records, first_lsn):
        with contextlib.suppress(NotAPageRecordError):
            yield parse(lsn, record)


def page_bytes(record: bytes) -> int:
    """Bytes of a page, if `record` is a volume's format; else 0."""
    if len(record) != HEAD_BYTES or record[:5] != _MAGIC + bytes([Kind.FORMAT]):
        return 0
    return int(_HEAD.unpack(record)[2])


def format_record(size: int) -> bytes:
    """The first record of a volume with pages of `size` bytes."""
    if size not in PAGE_BYTES:
        raise PageError(f"pages of {size} bytes: expected one of {', '.join(map(str, PAGE_BYTES))}")
    return _HEAD.pack(_MAGIC, Kind.FORMAT, size, 0)


def size_record(pages: int) -> bytes:
    """The volume has so many pages from now on; those beyond are gone."""
    return _HEAD.pack(_MAGIC, Kind.SIZE, pages, 0)


def change_record(page: int, before: bytes | None, after: bytes) -> tuple[bytes, Kind]:
    """The record that makes `after` of page `page`: a delta if `before` is given and that is smaller, else an image."""
    check = zlib.crc32(after)
    image = zlib.compress(after, LEVEL)
    kind, body = Kind.IMAGE, image
    if before is not None:
        delta = zlib.compress(_xor(before, after), LEVEL)
        if 2 * len(delta) < len(image):
            kind, body = Kind.DELTA, delta
    return _HEAD.pack(_MAGIC, kind, page, check) + body, kind


def record_of(change: Change) -> bytes:
    """The record that `change` was read from."""
    return _HEAD.pack(_MAGIC, change.kind, change.page, change.check) + change.body


def image_of(lsn: int, page: int, content: bytes) -> Change:
    """The page as it is at `lsn`, whole."""
    return Change(lsn, Kind.IMAGE, page, zlib.crc32(content), zlib.compress(content, LEVEL))


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def fold(changes: Sequence[Change], size: int) -> bytes:
    """The page of `size` bytes after `changes`, oldest first; one that was never written is zeros.

    Raises PageDamagedError where a change does not give the page that its writer had.
    """
    begin = next((number for number in range(len(changes) - 1, -1, -1) if changes[number].kind is Kind.IMAGE), 0)
    content = bytes(size)
    for change in changes[begin:]:
        try:
            body = _inflated(change.body, size)
        except zlib.error as error:
            raise _damaged(change, str(error)) from error
        if len(body) != size:
            raise _damaged(change, f"{len(body)} bytes in place of {size}")
        content = body if change.kind is Kind.IMAGE else _xor(content, body)
        if zlib.crc32(content) != change.check:
            raise _damaged(change, "its checksum is another one")
    return content


def _inflated(body: bytes, size: int) -> bytes:
    return zlib.decompressobj().decompress(body, size + 1)


def _damaged(change: Change, why: str) -> PageDamagedError:
    return PageDamagedError(
        f"page {change.page} at LSN {change.lsn} is not what its writer had ({why}); read it from another copy"
    )


def place(change: Change) -> tuple[int, int]:
    """The order of changes in files: by page, then by LSN."""
    return change.page, change.lsn


def images(
    sources: Iterable[Iterable[Change]], shrinks: Sequence[Shrink], *, upto: int, size: int, page_bytes: int
) -> Iterator[Change]:
    """Each page as it is at LSN `upto`, whole, and the last size; `sources` are in order each, `size` is the pages' number.

    Raises PageDamagedError.
    """
    for page, group in itertools.groupby(heapq.merge(*sources, key=place), key=lambda change: change.page):
        changes = list(group)
        if page == SIZE_PAGE:
            yield changes[-1]
        elif page < size:
            after = vanished_at(shrinks, page, upto)
            found = [change for change in changes if change.lsn > after]
            if len(found) == 1 and found[0].kind is Kind.IMAGE:
                yield found[0]
            elif found:
                yield image_of(found[-1].lsn, page, fold(found, page_bytes))


class Shrink(NamedTuple):
    """The volume lost its pages from number `pages` on."""

    lsn: int
    pages: int


def keyed(change: Change) -> Change:
    """As it is kept: a size as the content of a page of its own."""
    if change.kind is not Kind.SIZE or change.page == SIZE_PAGE:
        return change
    return change._replace(page=SIZE_PAGE, body=change.page.to_bytes(8, "big"))


def shrinks_in(changes: Sequence[Change], size: int) -> Iterator[Shrink]:
    """Where `changes` make a volume smaller that had `size` pages before."""
    for change in changes:
        if change.kind is Kind.SIZE:
            if change.page < size:
                yield Shrink(change.lsn, change.page)
            size = change.page


def vanished_at(shrinks: Iterable[Shrink], page: int, at: int) -> int:
    """LSN at which `page` was last lost, not after `at`; what was written to it before counts no more. 0 for never."""
    return max((shrink.lsn for shrink in shrinks if shrink.lsn <= at and shrink.pages <= page), default=0)
