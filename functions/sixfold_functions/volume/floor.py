"""The file `floor` in a copy's folder: with which segment its log begins, and which LSN was the last before.

It is written and synced before segments are removed, so what is missing at a start was either given up or is damage.
Two slots are written in turns, in place: a torn write leaves the other one, and it works where the disk has no room.

    slot: segment u64 | LSN u64 | CRC-32 u32 of both, 512 bytes apart
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files

FILE = "floor"
_SLOT = struct.Struct(">QQI")
_SLOT_BYTES = 512
"""A sector: a disk writes it whole, or not."""


class Floor:
    """Of one copy. Call `open` first."""

    def __init__(self, disk: disks.Disk, folder: Path, *, label: str) -> None:
        self._disk = disk
        self._folder = folder
        self._label = label
        self.segment = 1
        """The log begins with it."""
        self.lsn = 0
        """Records up to here are not kept."""
        self._slot = 0
        """Which is written next."""

    def open(self) -> None:
        """Read the file, which is made where there is none. Raises LogFailedError."""
        try:
            file = self._disk.open(self._folder / FILE, create=True)
            try:
                if file.size() < 2 * _SLOT_BYTES:
                    file.write_at(0, bytes(2 * _SLOT_BYTES))  # its room is taken now
                    file.fdatasync()
                    self._disk.sync_folder(self._folder)
                found = [(*_decoded(file.read_at(slot * _SLOT_BYTES, _SLOT.size)), 1 - slot) for slot in (0, 1)]
            finally:
                file.close()
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        self.segment, self.lsn, self._slot = max(found)

    def rise(self, segment: int, lsn: int) -> None:
        """The log begins with `segment` now, and has all above `lsn`; synced. Raises LogFailedError."""
        assert (segment, lsn) >= (self.segment, self.lsn), (segment, lsn, self.segment, self.lsn)
        data = _SLOT.pack(segment, lsn, 0)[:-4]
        try:
            file = self._disk.open(self._folder / FILE)
            try:
                file.write_at(self._slot * _SLOT_BYTES, data + zlib.crc32(data).to_bytes(4, "big"))
                file.fdatasync()
            finally:
                file.close()
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        self.segment, self.lsn, self._slot = segment, lsn, 1 - self._slot

    def confirm(self) -> None:
        """Have on the disk what was read: the process that wrote it may have ended at its sync. Raises LogFailedError."""
        self._slot = 1 - self._slot
        self.rise(self.segment, self.lsn)


def _decoded(data: bytes) -> tuple[int, int]:
    segment, lsn, check = _SLOT.unpack(data) if len(data) == _SLOT.size else (0, 0, 0)
    return (segment, lsn) if segment and zlib.crc32(data[:-4]) == check else (1, 0)
