"""Events about how long a volume's records are kept. Their topic is compacted: the last word of each kind stays."""

from __future__ import annotations

from sixfold_events.event import Event

RETENTION_TOPIC = "volume.retention"


class VolumeLogTrimmed(Event, topic=RETENTION_TOPIC, key="volume"):
    """A user wants no record up to an LSN to be kept; a later word with a lower one changes nothing."""

    volume: str
    lsn: int
