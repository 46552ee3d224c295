"""The file `acknowledged`: the highest LSN that a copy acknowledged, and in which epoch's volume.

It is a witness against the log and never makes anything count, so it is not synced: torn, it says nothing.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TypeVar

from sixfold import errors
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.node import StorageNode

P = TypeVar("P")

_PROMISE = struct.Struct(">QQI")


class PromiseBrokenError(errors.SixfoldError):
    """The log ends before what the copy had acknowledged."""


class DurableLostError(errors.SixfoldError):
    """A recovery annulled records that the copy knows to be durable; it keeps them and does not obey."""


def check_durable(node: StorageNode[P], folder: Path, label: str) -> None:
    """Raises DurableLostError where the last record that `node` heard annuls what it knows to be durable."""
    if (event := node.annulled) is not None:
        raise DurableLostError(
            f"{label}: a writer began epoch {epochs.text(event.epoch)} at LSN {event.durable_lsn}, but records up "
            f"to LSN {node.prefix.floor_lsn} were durable: more copies lost their logs than a quorum bears. This "
            f"copy stops and keeps them; save {folder} before you do anything else"
        )


class Promise:
    """The file in `folder`."""

    def __init__(self, disk: disks.Disk, folder: Path, *, label: str) -> None:
        self._disk = disk
        self._folder = folder
        self._label = label
        self._file: disks.File | None = None

    def check(self, node: StorageNode[P]) -> None:
        """Open the file and compare it with what was read back. Raises PromiseBrokenError, OSError.

        A torn tail is cut without a word, so bit rot in the last frame needs another witness.
        """
        self._file = self._disk.open(self._folder / "acknowledged", create=True)
        log_epoch, complete_lsn = self._read(self._file)
        if (node.log_epoch, node.prefix.complete_lsn) < (log_epoch, complete_lsn) and node.epoch <= log_epoch:
            raise PromiseBrokenError(
                f"{self._label}: its log ends at LSN {node.prefix.complete_lsn}, but it had acknowledged LSN "
                f"{complete_lsn}: the disk did not keep what was fsynced. {files.remedy(self._folder, self._label)}"
            )

    def _read(self, file: disks.File) -> tuple[int, int]:
        """Log epoch and LSN; zeros where the file is new or torn."""
        data = file.read_at(0, _PROMISE.size)
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
