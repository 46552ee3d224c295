"""What a copy of a volume says of itself: most answers carry it."""

from __future__ import annotations

from sixfold_events.event import Event


class VolumeCopyAcknowledged(Event, topic="volume.acks", key="volume", version=5):
    """What one copy holds on disk, fsynced; one for each batch of records that it read from its partition."""

    volume: str
    copy: str
    incarnation: int
    """Which start of the copy's process this is: higher for a later one, about its Unix milliseconds."""
    sequence: int
    """Counts what this incarnation said; a higher one is a later word."""
    epoch: int
    """Newest epoch that it knows."""
    writer: str
    """Who bumped that epoch."""
    log_epoch: int
    """Its records up to `complete_lsn` are a prefix of this epoch's volume."""
    complete_lsn: int
    """SCL: all records up to here are on its disk."""
    consistent_lsn: int
    """Highest consistency point at or below `complete_lsn`."""
    consistent_epoch: int
    """Origin epoch of the record at `consistent_lsn`."""
    settled_lsn: int
    """Up to here its records are known to be durable, so no recovery changes them."""
    missing_first_lsn: int = 0
    """First LSN that it lacks below records that it has or knows of; 0 for none."""
    missing_last_lsn: int = 0
    append_offset: int = 0
    """Next offset of `volume.append` after the requests that its records contain."""
    joining: bool = False
    """It is being filled and does not count: it is new, or lost its log and with it what it may have acknowledged."""
    clock_ms: int = 0
    """Highest `committed_at_ms` that it has stored; the next writer's stamps are above it."""
    heard_ms: int = 0
    """Highest `committed_at_ms` that it has stored of `epoch`'s writer; 0 where it has none."""
    membership_version: int = 0
    """Version of the membership that it has stored."""
    membership_epoch: int = 0
    """Epoch of the writer whose word that is; 0 where none ever said anything."""
    membership_settled: bool = True
    """Whether it knows that version to be settled."""
