"""The files of a segment log by their numbers: which there are, how large they are, and that the oldest ones go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.encryption import inventory

_SUFFIX = inventory.SUFFIX


class Segments:
    """In `folder`."""

    def __init__(self, disk: disks.Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self.sizes: dict[int, int] = {}
        """Of full segments, as they were read or sealed."""

    def path(self, segment: int) -> Path:
        """Of a segment's file."""
        return self._folder / f"{segment:08d}{_SUFFIX}"

    def numbers(self) -> list[int]:
        """Of the segments that there are, in order. Raises OSError."""
        return [int(name[: -len(_SUFFIX)]) for name in self._disk.names(self._folder) if name.endswith(_SUFFIX)]

    def full_bytes(self, newest: int) -> int:
        """Of all segments but the newest."""
        return sum(size for segment, size in self.sizes.items() if segment != newest)

    def remove_before(self, first: int) -> Iterator[int]:
        """Remove earlier segments, each as its number is given: whoever has it open lets go of it. Raises OSError."""
        for segment in self.numbers():
            if segment < first:
                yield segment
                self._disk.remove(self.path(segment))
                self.sizes.pop(segment, None)
