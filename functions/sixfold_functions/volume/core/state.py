"""All that a copy's core knows, as a checkpoint keeps it."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from sixfold_events.volume import VolumeMembershipChanged, VolumeRangeTruncated, VolumeRestored
from sixfold_functions.volume.core.prefix import PrefixState

P = TypeVar("P")


class NodeState(msgspec.Struct, Generic[P], frozen=True):
    """All that a copy knows, for a checkpoint."""

    incarnation: int
    epoch: int
    writer: str
    log_epoch: int
    durable_lsn: int
    heard_durable_lsn: int
    began_at: int | None
    joining: int
    admitted_lsn: int | None
    prefix: PrefixState[P]
    clock_ms: int = 0
    heard_ms: int = 0
    origin: VolumeRestored | None = None
    beginning: VolumeRangeTruncated | None = None
    low_water_lsn: int = 0
    membership: VolumeMembershipChanged | None = None
    held_lsn: int = 0
    trimmed_lsn: int = 0
