"""What lies in a copy's folder, and under which data keys; read from the segments' beginnings, without a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.encryption import chunked
from sixfold_functions.volume.encryption.envelope import Envelope

SUFFIX = ".seg"


class Held(NamedTuple):
    """A segment's file."""

    segment: int
    size: int
    """Bytes on the disk."""
    about: chunked.About | None
    """None where its first frame is torn or damaged."""

    @property
    def envelope(self) -> Envelope | None:
        """None for a segment in plain."""
        return self.about.envelope if self.about is not None else None


def segments(disk: disks.Disk, folder: Path) -> list[Held]:
    """The segments in `folder`, in order. Raises OSError."""
    found = []
    for name in disk.names(folder):
        if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit():
            file = disk.open(folder / name)
            try:
                about = chunked.about_of(chunked.first_frame(file))
                found.append(Held(int(name[: -len(SUFFIX)]), file.size(), about))
            finally:
                file.close()
    return found


def envelopes(held: Iterable[Held]) -> list[Envelope]:
    """One envelope of each data key, in the order in which they first occur."""
    return list({each.envelope.data_key: each.envelope for each in held if each.envelope is not None}.values())


def newest(held: Sequence[Held]) -> chunked.About | None:
    """What the newest segment with a whole beginning says."""
    return next((each.about for each in reversed(held) if each.about is not None), None)


def stale(held: Sequence[Held], data_key: bytes) -> list[Held]:
    """Full segments that are not under this data key: all but the newest, which is being written."""
    return [
        each
        for each in held[:-1]
        if each.about is not None and (not each.envelope or each.envelope.data_key != data_key)
    ]
