"""Settings of the embedded bus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the embedded bus behaves; the defaults are meant for production, tests shorten the intervals."""

    housekeeping_s: float = 1.0
    """Seconds between looks at retention and compaction; a look that finds nothing due costs microseconds."""
    tombstone_ms: int = 24 * 3600 * 1000
    """How long a tombstone outlives its key in a compacted topic; a day as Kafka's delete.retention.ms."""
    dirty_ratio_min: float = 0.5
    """Share of not yet compacted bytes from which a partition is compacted; as Kafka's min.cleanable.dirty.ratio."""
    dirty_age_max_ms: int = 60_000
    """A partition that has been dirty for this long is compacted whatever its ratio."""
    takeover_grace_s: float = 1.0
    """After an owner died, its groups' members have this long to come back before their partitions go to others.
    Reconnecting takes milliseconds; a second covers a busy machine."""
    connect_timeout_s: float = 10.0
    """How long an owner may answer nothing at all, or be missing, before calls raise BusUnavailableError."""
    frame_bytes_max: int = 64 * 1024 * 1024
    """Largest message on the socket, so also of one publish call; 64 records of the largest size."""
    batch_bytes_max: int = 256 * 1024
    """Records of one publish call are stored in batches of about this size; the unit of reading and decoding."""
    fetch_bytes_max: int = 1024 * 1024
    """Bytes that the owner sends in one answer to a consumer, one batch at least."""
    checkpoint_pages: int = 4000
    """Pages in the write-ahead log from which it is moved into the database: 16 MiB, seldom enough to cost little."""
    synchronous: str = "FULL"
    """SQLite's `synchronous`; FULL fsyncs every commit. Only the power-loss tests set another."""
    vfs: str | None = None
    """Name of the apsw VFS to open the file through; None is the operating system's. A seam for the power-loss tests."""
