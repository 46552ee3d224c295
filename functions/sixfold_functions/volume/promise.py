"""The file `acknowledged`: the highest LSN that a copy acknowledged, and in which epoch's volume.

It is a witness against the log and never makes anything count, so it is not synced: torn, it says nothing.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from sixfold_functions.volume import disk as disks

_PROMISE = struct.Struct(">QQI")


class Promise:
    """The file in `folder`."""

    def __init__(self, disk: disks.Disk, folder: Path) -> None:
        self._disk = disk
        self._path = folder / "acknowledged"
        self._file: disks.File | None = None

    def open(self) -> None:
        """Open the file, new or not. Raises OSError."""
        self._file = self._disk.open(self._path, create=True)

    def read(self) -> tuple[int, int]:
        """Log epoch and LSN; zeros where the file is new or torn."""
        assert self._file is not None, "open comes first"
        data = self._file.read_at(0, _PROMISE.size)
        if len(data) < _PROMISE.size:
            return 0, 0
        log_epoch, complete_lsn, check = _PROMISE.unpack(data)
        return (log_epoch, complete_lsn) if zlib.crc32(data[:-4]) == check else (0, 0)

    def note(self, log_epoch: int, complete_lsn: int) -> None:
        """It is about to be acknowledged."""
        if self._file is not None:
            data = _PROMISE.pack(log_epoch, complete_lsn, 0)[:-4]
            self._file.write_at(0, data + zlib.crc32(data).to_bytes(4, "big"))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
