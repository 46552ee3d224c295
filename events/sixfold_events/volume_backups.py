"""What a volume's backup says of itself, and what a volume says that was restored from one; import it from `sixfold_events.volume`."""

from __future__ import annotations

from sixfold_events.event import Event
from sixfold_events.volume_retention import RETENTION_TOPIC


class VolumeBackedUp(Event, topic=RETENTION_TOPIC, key="backup"):
    """A backup says up to where it has the volume; copies do not let go of records above that, for as long as it is
    waited for: a day after its last word.
    """

    volume: str
    backup: str
    """URL of its object store, one for each backup of the volume."""
    last_lsn: int
    """Everything up to here is durable in the object store."""


class VolumeRestored(Event, topic="volume.redo", key="volume", version=2):
    """The volume begins with the past of another, as a backup has it: the first record of each partition.

    A copy without a log makes its own from the backup, at this very LSN, before it says anything.
    """

    volume: str
    epoch: int
    """Above every epoch of that past; only copies that were made from the same past to the same LSN have it."""
    url: str
    """Of the object store, without credentials."""
    source: str
    """The volume that the backup is of."""
    last_lsn: int
    """A consistency point, where the volume begins."""
    last_epoch: int
    """Origin epoch of the record at `last_lsn`."""
    at_ms: int
    """All that was committed up to then is in it, and nothing later."""
    page_bytes: int = 0
    """0 for a volume of plain records, else the size of its pages."""
    shared: bool = False
    """A clone: copies keep nothing of the past and read it from the backup when somebody asks."""
    snapshot_lsn: int = 0
    """LSN in the source of a snapshot of its pages, with which the volume begins; 0 for the log from its first record."""
    snapshot_records: int = 0
    """How many records that is here; the source's records behind the snapshot follow them."""
