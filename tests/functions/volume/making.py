"""Short ways to make the volume's events in tests."""

from __future__ import annotations

from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeCopyAdmitted,
    VolumeEpochBumped,
    VolumeMembershipChanged,
    VolumeRangeTruncated,
    VolumeRedoBatch,
)
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.membership import Membership, event_of

E1, E2, E3 = (epochs.make(counter, 7) for counter in (1, 2, 3))


def batch(first: int, last: int, *, epoch: int = E1, origin: int = 0, back: int | None = None, vdl: int = 0,
          points: list[int] | None = None, low: int = 0) -> VolumeRedoBatch:  # fmt: skip
    """Records `first` to `last`; their payloads say LSN and origin."""
    origin = origin or epoch
    return VolumeRedoBatch(
        volume="default",
        epoch=epoch,
        origin_epoch=origin,
        first_lsn=first,
        backlink_lsn=first - 1,
        backlink_epoch=(origin if first > 1 else 0) if back is None else back,
        payloads=[f"{lsn}@{epochs.counter(origin)}".encode() for lsn in range(first, last + 1)],
        consistency_points=[last] if points is None else points,
        durable_lsn=vdl,
        low_water_lsn=low,
    )


def bump(epoch: int) -> VolumeEpochBumped:
    """`writer-N` takes over."""
    return VolumeEpochBumped(volume="default", epoch=epoch, writer=f"writer-{epochs.counter(epoch)}")


def truncation(epoch: int, durable_lsn: int, *, source: int) -> VolumeRangeTruncated:
    """The volume of `epoch` begins at `durable_lsn`, as a copy with log epoch `source` had it."""
    return VolumeRangeTruncated(
        volume="default", epoch=epoch, source_epoch=source, durable_lsn=durable_lsn, upper_lsn=durable_lsn + 100
    )


def admission(last_lsn: int, *, epoch: int = E1, incarnation: int = 1, copy: str = "a1") -> VolumeCopyAdmitted:
    """The writer of `epoch` lets a copy count again that holds everything up to `last_lsn`."""
    return VolumeCopyAdmitted(volume="default", epoch=epoch, copy=copy, incarnation=incarnation, last_lsn=last_lsn)


def membership(told: Membership) -> VolumeMembershipChanged:
    """A writer's word on the copies of the volume."""
    return event_of(told, "default")


def ack(copy: str, lsn: int, *, epoch: int = E1, log_epoch: int | None = None, sequence: int = 1, cpl: int | None = None,
        incarnation: int = 1, missing: tuple[int, int] = (0, 0), joining: bool = False) -> VolumeCopyAcknowledged:  # fmt: skip
    """`copy` holds all up to `lsn`."""
    return VolumeCopyAcknowledged(
        volume="default",
        copy=copy,
        incarnation=incarnation,
        sequence=sequence,
        epoch=epoch,
        writer=f"writer-{epochs.counter(epoch)}",
        log_epoch=epoch if log_epoch is None else log_epoch,
        complete_lsn=lsn,
        consistent_lsn=lsn if cpl is None else cpl,
        consistent_epoch=epoch,
        settled_lsn=0,
        missing_first_lsn=missing[0],
        missing_last_lsn=missing[1],
        joining=joining,
    )
