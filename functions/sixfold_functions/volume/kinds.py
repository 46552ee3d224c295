"""Which event lies in a frame's entry of which kind."""

from __future__ import annotations

from collections.abc import Iterable

from sixfold_events import Event
from sixfold_events.volume import (
    VolumeCopyAdmitted,
    VolumeEpochBumped,
    VolumeMembershipChanged,
    VolumeRangeTruncated,
    VolumeRedoBatch,
    VolumeRestored,
)
from sixfold_functions.volume.frames import Kind

CLASS: dict[Kind, type[Event]] = {
    Kind.BATCH: VolumeRedoBatch,
    Kind.BUMP: VolumeEpochBumped,
    Kind.TRUNCATION: VolumeRangeTruncated,
    Kind.ADMISSION: VolumeCopyAdmitted,
    Kind.RESTORED: VolumeRestored,
    Kind.MEMBERSHIP: VolumeMembershipChanged,
}
"""What comes in a copy's partition."""
READ: dict[Kind, type[Event]] = {**CLASS, Kind.MENDED: VolumeRedoBatch}
"""What is read back."""
KIND = {cls.__event__.type.encode(): kind for kind, cls in CLASS.items()}
KIND_OF = {cls: kind for kind, cls in CLASS.items()}


def of(headers: Iterable[tuple[str, bytes | None]]) -> Kind | None:
    """The kind of a record of a copy's partition; None where it is none of them."""
    for name, value in headers:
        if name == "ce_type":
            return KIND.get(value) if value is not None else None
    return None
