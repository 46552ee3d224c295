"""Events of the quorum volume: redo for the six copies, their acknowledgements, appends, reads and announcements.

An `epoch` is one number on the wire: a counter in its upper 32 bits and its writer's random tag in the lower 32, so
two writers that start at the same time never share one (`sixfold_functions/volume/core/epoch.py`). Lists that belong
together are parallel fields, not lists of records: these events are encoded on the append path.
"""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event
from sixfold_events.volume_backups import VolumeBackedUp as VolumeBackedUp
from sixfold_events.volume_backups import VolumeRestored as VolumeRestored
from sixfold_events.volume_copies import VolumeCopyAcknowledged as VolumeCopyAcknowledged
from sixfold_events.volume_keys import KeyUse as KeyUse
from sixfold_events.volume_keys import VolumeKeysAnswered as VolumeKeysAnswered
from sixfold_events.volume_keys import VolumeKeysRequested as VolumeKeysRequested
from sixfold_events.volume_members import CopyPlace as CopyPlace
from sixfold_events.volume_members import VolumeMembersAnnounced as VolumeMembersAnnounced
from sixfold_events.volume_members import VolumeMembershipChanged as VolumeMembershipChanged
from sixfold_events.volume_members import VolumePlanned as VolumePlanned
from sixfold_events.volume_members import VolumeReplaceRequested as VolumeReplaceRequested
from sixfold_events.volume_retention import VolumeLogTrimmed as VolumeLogTrimmed
from sixfold_events.volume_snapshots import VolumeSnapshotAnswered as VolumeSnapshotAnswered
from sixfold_events.volume_snapshots import VolumeSnapshotRequested as VolumeSnapshotRequested

REDO_TOPIC = "volume.redo"


class VolumeRedoBatch(Event, topic=REDO_TOPIC, key="volume", version=4):
    """Records of a volume on their way to one copy; a batch is stored whole or not at all."""

    volume: str
    epoch: int
    """Epoch of the writer that sends it; a copy refuses it once it knows a newer one."""
    origin_epoch: int
    """Epoch in which the records were first written; older than `epoch` only where a recovery sends them again."""
    first_lsn: int
    """LSN of the first payload; the others follow it one by one. With no payload, the LSN that comes next."""
    backlink_lsn: int
    """LSN of the record before the first."""
    backlink_epoch: int
    """Origin epoch of the record before the first; 0 where there is none."""
    payloads: list[bytes]
    consistency_points: list[int] = msgspec.field(default_factory=list)
    """LSNs after which the volume is consistent; the last record's, unless an append goes on in the next batch."""
    durable_lsn: int = 0
    """The writer's VDL when it sent the batch."""
    request_ids: list[str] = msgspec.field(default_factory=list)
    """Append requests whose last record is in this batch."""
    request_last_lsns: list[int] = msgspec.field(default_factory=list)
    """For each of `request_ids`, the LSN of its last record."""
    request_sizes: list[int] = msgspec.field(default_factory=list)
    """For each of `request_ids`, how many records it has."""
    request_offsets: list[int] = msgspec.field(default_factory=list)
    """For each of `request_ids`, its offset in `volume.append`."""
    committed_at_ms: int = 0
    """Unix milliseconds at which its writer made it; never less than that of a record with a lower LSN, whoever wrote it.
    With no payload: no record that the volume gets from now on has this stamp or a lower one."""
    durable_at_ms: int = 0
    """When `durable_lsn` became durable, in Unix milliseconds by the writer's clock; 0 where it is not known."""
    low_water_lsn: int = 0
    """Lowest LSN at which anybody reads the volume: records of older states are needed by nobody."""
    held_lsn: int = 0
    """Every backup has all up to here in its object store; where there is none it is as high as `low_water_lsn`."""
    trimmed_lsn: int = 0
    """The user wants no record up to here to be kept; a volume of pages keeps what they make of it all the same."""


class VolumeEpochBumped(Event, topic=REDO_TOPIC, key="volume"):
    """A writer takes over: the copy that reads it ignores records of older epochs from there on."""

    volume: str
    epoch: int
    writer: str
    """Who took over, for people."""


class VolumeRangeTruncated(Event, topic=REDO_TOPIC, key="volume"):
    """The volume of `epoch` begins with the records up to `durable_lsn`; everything above is annulled."""

    volume: str
    epoch: int
    source_epoch: int
    """Log epoch of the copy whose records the recovery took."""
    durable_lsn: int
    """Last LSN that is kept."""
    upper_lsn: int
    """No LSN above was ever allocated by an older writer."""


class VolumeCopyAdmitted(Event, topic=REDO_TOPIC, key="volume"):
    """The writer lets a copy that lost its log count again, once it holds everything up to `last_lsn`."""

    volume: str
    epoch: int
    copy: str
    incarnation: int
    """The start of the copy that the writer heard of: a loss after that needs another admission."""
    last_lsn: int
    """Highest LSN that was given out; the copy cannot have acknowledged more before its loss."""


class VolumeAppendRequested(Event, topic="volume.append", key="volume"):
    """Someone who is not the writer asks for records to be appended, atomically."""

    volume: str
    request_id: str
    records: list[bytes]
    expires_at_ms: int = 0
    """A writer that comes to it later leaves it alone; 0 for never."""


class VolumeDurableAdvanced(Event, topic="volume.durable", key="volume", version=2):
    """The writer announces its durable LSN, and the append requests that became durable with it."""

    volume: str
    epoch: int
    durable_lsn: int
    append_offset: int
    """Every request below this offset of `volume.append` has been answered, here or before."""
    request_ids: list[str] = msgspec.field(default_factory=list)
    first_lsns: list[int] = msgspec.field(default_factory=list)
    last_lsns: list[int] = msgspec.field(default_factory=list)
    errors: list[str] = msgspec.field(default_factory=list)
    """For each of `request_ids`, why it was refused; empty for one that is durable."""
    durable_at_ms: int = 0
    """When `durable_lsn` became durable, in Unix milliseconds by the writer's clock; 0 where it is not known."""


class VolumeReadRequested(Event, topic="volume.reads", key="volume", version=2):
    """Someone asks one copy for records, or with `count` 0 only how it is."""

    volume: str
    copy: str
    request_id: str
    from_lsn: int
    count: int
    epoch: int = 0
    """Epoch whose volume `durable_lsn` speaks of."""
    durable_lsn: int = 0
    """Read point: the reader knows that all up to here is durable."""
    whole_batches: bool = False
    """For recovery and repair: stored batches as they are, durable or not, up to the copy's SCL."""
    answer_partition: int = -1
    """Where a copy that asks awaits the answer, in `volume.reads`; -1 for `volume.read.results`, which all read."""


class VolumeReadAnswered(Event, topic="volume.read.results", key="volume", version=7):
    """A copy's answer: how it is, and the records, as many as fit into one answer."""

    volume: str
    copy: str
    request_id: str
    status: VolumeCopyAcknowledged
    first_lsn: int = 0
    payloads: list[bytes] = msgspec.field(default_factory=list)
    batches: list[bytes] = msgspec.field(default_factory=list)
    """Encoded VolumeRedoBatch values, if whole batches were asked for."""
    error: str = ""
    began_lsn: int = -1
    """Where the volume of the copy's epoch began, as its VolumeRangeTruncated says; -1 while it has not read that."""
    began_source_epoch: int = 0
    began_upper_lsn: int = 0
    damaged: int = 0
    """Places in its log that are known to be damaged and are not mended yet."""
    membership: VolumeMembershipChanged | None = None
    """The newest that it has stored; none where the volume has the copies that it began with."""
    floor_lsn: int = 0
    """Records up to here are not kept any more; in a volume of pages they are in those."""
    log_bytes: int = 0
    """Of its segments on the disk."""
    page_bytes: int = 0
    """Of a page; 0 for a volume of plain records, or without any."""


class VolumeScrubRequested(Event, topic="volume.reads", key="volume"):
    """Someone asks one copy to read all of its log back now, and to mend what is damaged."""

    volume: str
    copy: str
    request_id: str


class VolumeScrubReported(Event, topic="volume.read.results", key="volume"):
    """How far a copy is with reading its log back; more than once for a request, `done` in the last."""

    volume: str
    copy: str
    request_id: str
    done: bool
    read_bytes: int
    """What was read so far."""
    total_bytes: int
    """What there was to read when it began."""
    damaged: int = 0
    """Places that were found to be damaged."""
    mended: int = 0
    """Those of them that are whole again."""
    error: str = ""
    """Why the rest is not mended yet."""


class VolumePagesRequested(Event, topic="volume.reads", key="volume"):
    """Someone asks one copy of a volume of pages for pages as they are at a read point."""

    volume: str
    copy: str
    request_id: str
    pages: list[int]
    lsn: int
    """Read point: the reader knows that all up to here is durable."""
    epoch: int
    """Epoch whose volume `lsn` speaks of."""


class VolumePagesAnswered(Event, topic="volume.read.results", key="volume", version=4):
    """A copy's answer: the pages that were asked for, as many as fit into one answer."""

    volume: str
    copy: str
    request_id: str
    status: VolumeCopyAcknowledged
    lsn: int
    page_bytes: int = 0
    size: int = 0
    """Pages that the volume has at `lsn`."""
    contents: list[bytes] = msgspec.field(default_factory=list)
    """One for each page, in the order of the request; empty for a page beyond the end."""
    error: str = ""


class CopyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One copy, as the tracker last heard of it."""

    copy: str
    incarnation: int
    epoch: int
    log_epoch: int
    complete_lsn: int
    heard_at_ms: int


class VolumeStatusChanged(Event, topic="volume.status", key="volume"):
    """The tracker's view of a volume: its durable LSN and its copies."""

    volume: str
    epoch: int
    durable_lsn: int
    copies: list[CopyStatus]


class VolumeReadPointHeld(Event, topic="volume.read.points", key="volume"):
    """A reader says at which LSN it reads and how far it has come; it must say so every few seconds to be counted."""

    volume: str
    reader: str
    """Its name, one for each reader of the volume."""
    zone: str
    """Where it runs; empty where it does not say."""
    copy: str
    """The copy whose partition it follows."""
    lsn: int
    """Oldest LSN at which it reads: the records of that state are needed."""
    applied_lsn: int
    """Up to here it has applied everything; where nobody holds an older state it is `lsn`."""
    durable_lsn: int
    """What it knows to be durable."""
    lag_ms: float
    """From commit to visible: how long ago the oldest record that it has not applied became durable, or how long the
    last one took; negative where it is not known. Two machines' clocks may differ."""
    released: bool = False
    """It stops: it reads at no LSN any more."""
