"""What a writer does now and then: stalls are noticed, gaps filled, and copies told of what no batch has told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sixfold_functions.volume import sender
from sixfold_functions.volume.core import recovery
from sixfold_functions.volume.settings import TICK_S

if TYPE_CHECKING:
    from sixfold_functions.volume.writer import VolumeWriter


async def tick(writer: VolumeWriter, redo_sender: sender.Sender) -> None:
    """For ever."""
    dropped_seen = 0
    while True:
        await writer.clock.sleep(TICK_S)
        now, dropped = writer.clock.monotonic(), redo_sender.dropped
        writer.recovery.on_time(now)
        redo_sender.check()
        if writer.recovery.state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
            writer.repairer.check()
            writer.members.check(now)
        if writer.recovery.state is recovery.State.ESTABLISHED:
            if now - writer.outlet.sent_at >= TICK_S:
                writer.pump()  # the batch before takes long, or was lost on its way
            # Copies must hear that the last records are durable, and where they may lack some; and that nothing came.
            quiet_s = now - writer.outlet.sent_at
            news = writer.outlet.told_lsn < writer.durable_lsn or dropped != dropped_seen
            if quiet_s >= (writer.settings.idle_s if news else writer.settings.heartbeat_s):
                dropped_seen = dropped
                writer.outlet.send(writer.outlet.nothing_new())
        writer.changed.set()
