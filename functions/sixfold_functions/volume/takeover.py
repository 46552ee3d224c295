"""Taking a volume over: carries out what the recovery's states ask for, again and again until the writer has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sixfold_events.volume import VolumeEpochBumped
from sixfold_functions.volume import succession
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.recovery import State

if TYPE_CHECKING:
    from sixfold_functions.volume.writer import VolumeWriter

BACKOFF_S = 0.2
"""Two writers that start together back off by up to this, at random, so that one of them gets through."""
BUMP_AGAIN_S = 10.0
"""A broker may lose its tail; a bump that is read twice changes nothing."""
STUCK_S = 10.0
"""Without progress for so long the source may be gone: recovery begins anew with who is there."""
STUCK_MAX_S = 60.0


async def hold(writer: VolumeWriter) -> None:
    """Take the volume over, answer for the writers before, announce what is durable for ever."""
    await take_over(writer)
    writer.answered_offset = await succession.succeed(writer)
    writer.succeeded.set()
    await writer.announcer.run()


async def take_over(writer: VolumeWriter) -> None:
    """Return once `writer` has the volume; its sequencer then gives LSNs."""
    stuck_s = STUCK_S
    while True:
        if await gather(writer):
            truncate(writer)
            if await filled(writer, stuck_s):
                break
            stuck_s = min(2 * stuck_s, STUCK_MAX_S)
        if writer.recovery.state is State.IDLE:
            await writer.clock.sleep(writer.rng.uniform(0.0, BACKOFF_S))
    establish(writer)


async def gather(writer: VolumeWriter, newest_known: int = 0) -> bool:
    """Fence older writers and hear what the copies hold. False where a newer writer was seen."""
    recovery, log = writer.recovery, structlog.get_logger().bind(volume=writer.volume)
    epoch = recovery.begin(newest_known)
    writer.tracker.begin(epoch)
    bump = VolumeEpochBumped(volume=writer.volume, epoch=epoch, writer=writer.name)
    writer.outlet.send(bump)
    bumped_at = writer.clock.monotonic()
    log.info("taking the volume over", action="volume.takeover.begun", epoch=epochs.text(epoch))
    while recovery.state in (State.BUMPING, State.GATHERING):
        await writer.wait_change()
        if await writer.members.learn() or writer.clock.monotonic() - bumped_at > BUMP_AGAIN_S:
            bumped_at = writer.clock.monotonic()
            writer.outlet.send(bump)
    return recovery.state is State.TRUNCATING


def truncate(writer: VolumeWriter) -> None:
    """Say where the epoch begins."""
    writer.outlet.send(writer.outlet.truncation(writer.settings.limits.ahead_records_max))
    writer.recovery.truncation_sent()
    writer.members.adopt()


def establish(writer: VolumeWriter) -> None:
    """A write quorum holds what the epoch begins with: appends begin."""
    recovery = writer.recovery
    beginning = recovery.beginning
    assert beginning is not None
    writer.sequencer.begin(recovery.epoch, beginning.durable_lsn, beginning.last_epoch, recovery.clock_ms())
    recovery.write_quorum()
    writer.advance()
    structlog.get_logger().bind(volume=writer.volume).info(
        "the volume has its writer",
        action="volume.takeover.done",
        epoch=epochs.text(recovery.epoch),
        durable_lsn=beginning.durable_lsn,
        source=beginning.source.copy,
    )


async def filled(writer: VolumeWriter, stuck_s: float) -> bool:
    """Wait until a write quorum holds what the epoch begins with. False if that seems not to come."""
    held, since = -1, writer.clock.monotonic()
    while writer.recovery.state is State.FILLING:
        if writer.tracker.established():
            return True
        now = sum(ack.complete_lsn + ack.missing_first_lsn for ack in writer.tracker.copies.values())
        if now != held:
            held, since = now, writer.clock.monotonic()
        elif writer.clock.monotonic() - since > stuck_s:
            return False
        await writer.wait_change()
    return False
