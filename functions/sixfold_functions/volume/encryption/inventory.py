"""What lies in a copy's folder, and under which data keys; read without a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.encryption import chunked
from sixfold_functions.volume.encryption.envelope import Envelope
from sixfold_functions.volume.pages import layer

SUFFIX = ".seg"
PAGES = "pages"
"""Folder of a copy's layers."""


class Held(NamedTuple):
    """A file whose beginning (or end, for a layer) is whole."""

    segment: int
    """Its number; 0 for a layer of pages."""
    size: int
    """Bytes on the disk."""
    envelope: Envelope | None
    """None for a file in plain."""
    reencrypt: bool = False
    """When this segment was begun, older files were to be written anew."""


def segments(disk: disks.Disk, folder: Path) -> list[Held]:
    """The segments in `folder` whose first frame is whole, in order. Raises OSError."""
    found = []
    for name in disk.names(folder):
        if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit():
            file = disk.open(folder / name)
            try:
                about = chunked.about_of(chunked.first_frame(file))
                if about is not None:
                    found.append(Held(int(name[: -len(SUFFIX)]), file.size(), about.envelope, about.reencrypt))
            finally:
                file.close()
    return found


def envelopes(held: Iterable[Held]) -> list[Envelope]:
    """One envelope of each data key, in the order in which they first occur."""
    return list({each.envelope.data_key: each.envelope for each in held if each.envelope is not None}.values())


def layers(disk: disks.Disk, folder: Path) -> list[Held]:
    """The finished layers of pages of the copy in `folder`. Raises OSError."""
    found = []
    for name in disk.names(folder / PAGES):
        if name.endswith(layer.SUFFIX):
            file = disk.open(folder / PAGES / name)
            try:
                footer = layer.footer_of(file)
                if footer is not None:
                    found.append(Held(0, file.size(), footer.envelope))
            finally:
                file.close()
    return found


def stale(held: Sequence[Held], data_key: bytes) -> list[Held]:
    """What is not under this data key."""
    return [each for each in held if each.envelope is None or each.envelope.data_key != data_key]
