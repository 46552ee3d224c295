"""Events with which a copy, or a replica, gets all pages of a volume as they are at one LSN, part by part."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event
from sixfold_events.volume_copies import VolumeCopyAcknowledged


class VolumeSnapshotRequested(Event, topic="volume.reads", key="volume"):
    """Someone asks one copy of a volume of pages for a part of them."""

    volume: str
    copy: str
    request_id: str
    lsn: int = 0
    """As they are at this LSN; 0 for the newest that the copy has, which it says."""
    first_page: int = 0
    """The part begins with the first page from here on that there is."""


class VolumeSnapshotAnswered(Event, topic="volume.read.results", key="volume"):
    """A copy's answer: pages in the order of their numbers, as many as fit into one answer, and where the next begin."""

    volume: str
    copy: str
    request_id: str
    status: VolumeCopyAcknowledged
    lsn: int
    """All of it is durable up to here, and the pages are as these records make them."""
    origin_epoch: int = 0
    """Of the record at `lsn`; this and the next three are said where the newest state was asked for."""
    consistent_lsn: int = 0
    """The last consistency point at or below `lsn`."""
    consistent_epoch: int = 0
    append_offset: int = 0
    """Next offset of `volume.append` after the requests up to `lsn`."""
    page_bytes: int = 0
    size: int = 0
    """Pages that the volume has at `lsn`."""
    pages: list[int] = msgspec.field(default_factory=list)
    """A page that is not named although its number lies between two of them was never written: it is zeros."""
    lsns: list[int] = msgspec.field(default_factory=list)
    """For each of `pages`, the LSN at which it became what it is."""
    checks: list[int] = msgspec.field(default_factory=list)
    """For each of `pages`, the CRC-32 of its content."""
    bodies: list[bytes] = msgspec.field(default_factory=list)
    """For each of `pages`, its content, zlib."""
    next_page: int = -1
    """The next part begins here; -1 where this is the last."""
    began_lsn: int = -1
    """As in `volume.read.answered`: where the volume of the copy's epoch began."""
    began_source_epoch: int = 0
    began_upper_lsn: int = 0
    error: str = ""
