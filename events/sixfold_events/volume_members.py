"""Events on which copies a volume has: the writer's word in the redo, its announcements, and requests to replace one.

They are part of the volume's vocabulary: import them from `sixfold_events.volume`.
"""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event

MEMBERS_TOPIC = "volume.members"


class CopyPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a copy lives; its name and its partition are never given to another one."""

    copy: str
    zone: str
    partition: int
    """Of `volume.redo` and `volume.reads`."""


class VolumeMembershipChanged(Event, topic="volume.redo", key="volume"):
    """Which copies the volume has, by the word of its writer; a copy keeps the newest that it read."""

    volume: str
    epoch: int
    """Epoch of the writer whose word it is; a later epoch's word replaces it, whatever its version."""
    version: int
    """Counts the changes; 0 is the six copies that every volume begins with."""
    places: list[CopyPlace]
    """Every copy that the volume ever had or was to get."""
    sets: list[list[str]]
    """One set of six copies, or two that differ in one while a copy is being replaced: each must reach its quorum."""
    previous: list[list[str]] = msgspec.field(default_factory=list)
    """Sets of the version before, which count as well until it is settled; none then."""


class VolumePlanned(Event, topic=MEMBERS_TOPIC, key="volume"):
    """The volume is spread over groups of six copies; what was said first counts, and each group's log repeats it."""

    volume: str
    groups: int
    stripe: int
    """So many pages (or records, by volume LSN) that follow each other lie in one group."""
    page_bytes: int = 0
    """0 for a volume of plain records, else the size of its pages."""


class VolumeReplaceRequested(Event, topic=MEMBERS_TOPIC, key="volume"):
    """Someone asks the volume's writer to replace a copy, or to go back from a replacement that is under way."""

    volume: str
    request_id: str
    copy: str
    """The copy to be replaced."""
    undo: bool = False
    """Go back to `copy`, whose replacement is not complete yet."""
    expires_at_ms: int = 0
    """A writer that comes to it later leaves it alone; 0 for never."""


class VolumeMembersAnnounced(Event, topic=MEMBERS_TOPIC, key="volume"):
    """The volume's writer says which copies it has: where readers, supervisors and a next writer begin to look.

    A hint: what counts is what the copies stored. The writer says it before it changes anything, and once it is settled.
    """

    volume: str
    membership: VolumeMembershipChanged
    request_id: str = ""
    """The request that this answers."""
    refusal: str = ""
    """Why the request was refused; nothing was changed then."""
