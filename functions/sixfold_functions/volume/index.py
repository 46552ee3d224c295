"""Finding settled batches on the disk: one row a batch, in the order of LSNs, so memory does not grow with the volume.

    row: first LSN u64 | last LSN u64 | segment u32 | position u64 | entry u32 | CRC-32 u32 of the rest

A settled batch never changes, so rows are only added. The file is derived from the segments: it is synced before a
checkpoint counts its rows, what is behind those is cut off at the next start, and a file that is too short or damaged
is made anew by reading all segments.

Rows are numbered from the volume's first batch on. Where the first of them went with their segments, the file begins
with a row of LSN 0 that says how many they were (as its position) and where they end; it is a new file then, which is
synced and takes the name of the old one.
"""

from __future__ import annotations

import bisect
import errno
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, segments

_ROW = struct.Struct(">QQIQI")
_CHECK = struct.Struct(">I")
ROW_BYTES = _ROW.size + _CHECK.size
TAIL_ROWS_MAX = 2048
"""Rows in memory before they are written together."""
_READ_ROWS = 256
_NEW = ".new"
_COPY_BYTES = 256 * 1024


class Place(NamedTuple):
    """Where a batch lies: its frame, and which entry of it."""

    frame: segments.Location
    entry: int


class Row(NamedTuple):
    """A settled batch."""

    first_lsn: int
    last_lsn: int
    place: Place


class Index:
    """The file `index` in a copy's folder. Call `open` first, then `trim`."""

    def __init__(self, disk: disks.Disk, folder: Path, *, label: str) -> None:
        self._disk = disk
        self._folder = folder
        self._path = folder / "index"
        self._label = label
        self._file: disks.File | None = None
        self._written = 0
        self._tail: list[Row] = []
        self.base = 0
        """The number of the first row that there is."""
        self.base_lsn = 0
        """Last LSN of the row before it."""
        self._skip = 0
        """Bytes of the file before that row."""
        self.suspect = False
        """Whether a reader found a damaged row; whoever looks after it says no again."""
        self.begin_lsn = 0
        """Records up to here lie elsewhere: the first row is of what follows."""

    def __len__(self) -> int:
        return self._written + len(self._tail)

    @property
    def last_lsn(self) -> int:
        """Of the last row; `begin_lsn` where there is none. Raises LogDamagedError."""
        if self._tail:
            return self._tail[-1].last_lsn
        if self._written > self.base:
            return self._rows(self._written - 1, 1)[0].last_lsn
        return max(self.base_lsn, self.begin_lsn)

    def open(self) -> None:
        """Open the file, new or not. Raises LogFailedError."""
        try:
            self._file = self._disk.open(self._path, create=True)
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        self._learn()

    def _learn(self) -> None:
        """Whether rows went, by what the file begins with."""
        self.base = self.base_lsn = self._skip = 0
        try:
            head = self._decoded(self._opened().read_at(0, ROW_BYTES))
        except files.LogDamagedError:
            self.suspect = False
            return
        if not head.first_lsn:
            self.base, self.base_lsn, self._skip = head.place.frame.position, head.last_lsn, ROW_BYTES

    def trim(self, rows: int, last_lsn: int) -> bool:
        """Keep the first `rows`, which end at `last_lsn`. False where the file has not got them: `restart` comes next."""
        file, self._tail, self._written = self._opened(), [], rows
        try:
            good = rows >= self.base and file.size() >= self._position(rows) and self.last_lsn == last_lsn
        except files.LogDamagedError:
            good = False
        if not good:
            return False
        try:
            file.truncate(self._position(rows))
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        return True

    def restart(self, rows: int, last_lsn: int) -> None:
        """Have no row, and let those that come follow `rows` rows, which end at `last_lsn`. Raises LogFailedError."""
        self._tail, self._written, self.base, self.base_lsn = [], rows, rows, last_lsn
        self._skip = ROW_BYTES if rows or last_lsn else 0
        try:
            self._opened().truncate(0)
            if self._skip:
                self._opened().append(_encoded(_head(rows, last_lsn)))
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error

    def let_go(self, rows: int, last_lsn: int) -> bool:
        """Let go of the first `rows`, which end at `last_lsn`. False where there is no room for what is left of the file.

        A crash leaves the old file or the new one, and what has no name yet is written over. Raises LogFailedError.
        """
        self._write()
        new = self._path.with_name(self._path.name + _NEW)
        try:
            source, target = self._opened(), self._disk.open(new, create=True)
            target.truncate(0)
            target.append(_encoded(_head(rows, last_lsn)))
            for position in range(self._position(rows), source.size(), _COPY_BYTES):
                target.append(source.read_at(position, _COPY_BYTES))
            target.fdatasync()
            self._disk.rename(new, self._path)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return False
            raise files.failure(error, self._folder, self._label) from error
        source.close()
        self._file, self.base, self.base_lsn, self._skip = target, rows, last_lsn, ROW_BYTES
        return True

    def _position(self, number: int) -> int:
        """Of row `number` in the file."""
        return self._skip + (number - self.base) * ROW_BYTES

    def add(self, row: Row) -> None:
        """Note a batch that follows the last row. Raises LogFailedError."""
        self._tail.append(row)
        if len(self._tail) >= TAIL_ROWS_MAX:
            self._write()

    def sync(self) -> None:
        """Return once all rows survive a loss of power (the file's name with the folder's next sync)."""
        self._write()
        try:
            self._opened().fdatasync()
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error

    def _write(self) -> None:
        try:
            self._opened().append(b"".join(map(_encoded, self._tail)))
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        self._written += len(self._tail)
        self._tail = []

    def between(self, first_lsn: int, last_lsn: int) -> Iterator[Row]:
        """Rows with records in `first_lsn` … `last_lsn`, in order. Raises LogDamagedError."""
        numbers = range(self.base, len(self))
        number = self.base + bisect.bisect_left(numbers, first_lsn, key=lambda number: self._row(number).last_lsn)
        while number < len(self):
            for row in (
                self._rows(number, _READ_ROWS) if number < self._written else self._tail[number - self._written :]
            ):
                if row.first_lsn > last_lsn:
                    return
                yield row
                number += 1

    def row(self, number: int) -> Row | None:
        """Row `number`, from `base` on; None where it is damaged."""
        suspect = self.suspect
        try:
            return self._row(number)
        except files.LogDamagedError:
            self.suspect = suspect
            return None

    def at(self, lsn: int) -> Row | None:
        """The row of the batch with the record at `lsn`; None where there is none. Raises LogDamagedError."""
        return next(self.between(lsn, lsn), None)

    def mend(self, number: int, row: Row) -> None:
        """Write a damaged row anew, in its place; a torn write leaves a damaged row. Raises LogFailedError."""
        file = self._opened()
        try:
            file.write_at(self._position(number), _encoded(row))
            file.fdatasync()
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error

    def _row(self, number: int) -> Row:
        return self._rows(number, 1)[0] if number < self._written else self._tail[number - self._written]

    def _rows(self, number: int, count: int) -> list[Row]:
        count = min(count, self._written - number)
        data = self._opened().read_at(self._position(number), count * ROW_BYTES)
        return [self._decoded(data[start : start + ROW_BYTES]) for start in range(0, count * ROW_BYTES, ROW_BYTES)]

    def _decoded(self, data: bytes) -> Row:
        if len(data) < ROW_BYTES or _CHECK.unpack_from(data, _ROW.size)[0] != zlib.crc32(data[: _ROW.size]):
            self.suspect = True
            raise files.LogDamagedError(
                f"{self._path} is damaged. Look at the disk, then remove this file and start {self._label} again: "
                "it is made anew from the segments"
            )
        first_lsn, last_lsn, segment, position, entry = _ROW.unpack_from(data)
        return Row(first_lsn, last_lsn, Place(segments.Location(segment, position), entry))

    def _opened(self) -> disks.File:
        assert self._file is not None, "open comes first"
        return self._file

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _head(rows: int, last_lsn: int) -> Row:
    return Row(0, last_lsn, Place(segments.Location(0, rows), 0))


def _encoded(row: Row) -> bytes:
    location, entry = row.place
    data = _ROW.pack(row.first_lsn, row.last_lsn, location.segment, location.position, entry)
    return data + _CHECK.pack(zlib.crc32(data))
