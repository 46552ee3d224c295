"""The function `volume.tracker`: the quorum tracker's core over all acknowledgements, for status and dashboards.

No append waits for it: the writer runs the same core itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sixfold import Context, function
from sixfold_events.volume import (
    CopyStatus,
    VolumeCopyAcknowledged,
    VolumeMembersAnnounced,
    VolumeMembershipChanged,
    VolumeStatusChanged,
)
from sixfold_functions.volume.core.membership import FIRST, Membership, of_event
from sixfold_functions.volume.core.tracker import QuorumTracker

EMIT_EVERY_MS = 100
"""Under load the view is published ten times a second; the writer's idle batch brings the last word."""


class _Row(msgspec.Struct):
    """A copy's newest acknowledgement, and when it came."""

    ack: VolumeCopyAcknowledged
    heard_at_ms: int


@function(
    on=[VolumeCopyAcknowledged, VolumeMembersAnnounced],
    emits=[VolumeStatusChanged],
    name="volume.tracker",
    tables=["volumes"],
)
async def track(event: VolumeCopyAcknowledged | VolumeMembersAnnounced, ctx: Context) -> None:
    """Keep what each copy of a volume acknowledged, and publish what is durable."""
    table = ctx.table("volumes")
    stored = await table.get(event.volume, {})
    rows = {copy: msgspec.convert(row, _Row) for copy, row in stored.get("copies", {}).items()}
    tracker = QuorumTracker(epoch=stored.get("epoch", 0), membership=_members(stored))
    tracker.restore([row.ack for row in rows.values()], stored.get("durable_lsn", 0))
    emitted_at_ms = stored.get("emitted_at_ms", 0)
    if isinstance(event, VolumeMembersAnnounced):
        told = of_event(event.membership)
        if told.key > tracker.membership.key:
            tracker.use(told)
            stored["membership"] = msgspec.to_builtins(event.membership)
    else:
        emitted_at_ms = _acknowledged(event, tracker, rows, emitted_at_ms, ctx)
    table.put(
        event.volume,
        {
            "epoch": tracker.epoch,
            "durable_lsn": tracker.durable_lsn,
            "copies": {copy: msgspec.to_builtins(rows[copy]) for copy in rows if copy in tracker.membership.members},
            "emitted_at_ms": emitted_at_ms,
            "membership": stored.get("membership"),
        },
    )


def _members(stored: dict[str, Any]) -> Membership:
    told = stored.get("membership")
    return FIRST if told is None else of_event(msgspec.convert(told, VolumeMembershipChanged))


def _acknowledged(
    ack: VolumeCopyAcknowledged, tracker: QuorumTracker, rows: dict[str, _Row], emitted_at_ms: int, ctx: Context
) -> int:
    """Take a copy's word; when the view was last published."""
    if ack.copy in tracker.membership.members and ack.epoch > tracker.epoch:
        tracker.begin(ack.epoch)
    now_ms = ctx.record.timestamp_ms
    tracker.on_ack(ack)
    if tracker.copies.get(ack.copy) is ack:
        rows[ack.copy] = _Row(ack, now_ms)
    if now_ms - emitted_at_ms < EMIT_EVERY_MS:
        return emitted_at_ms
    ctx.emit(_status(ack.volume, tracker, rows))
    return now_ms


def _status(volume: str, tracker: QuorumTracker, rows: dict[str, _Row]) -> VolumeStatusChanged:
    return VolumeStatusChanged(
        volume=volume,
        epoch=tracker.epoch,
        durable_lsn=tracker.durable_lsn,
        copies=[
            CopyStatus(
                copy=copy,
                incarnation=row.ack.incarnation,
                epoch=row.ack.epoch,
                log_epoch=row.ack.log_epoch,
                complete_lsn=row.ack.complete_lsn,
                heard_at_ms=row.heard_at_ms,
            )
            for copy, row in sorted(rows.items())
        ],
    )
