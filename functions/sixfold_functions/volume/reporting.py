"""A replica's word, once a second: where it reads, and how far it is. The writer counts it, the status shows it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from sixfold import publisher
from sixfold.bus import port
from sixfold_events.volume import VolumeReadPointHeld
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout

if TYPE_CHECKING:
    from sixfold_functions.volume.replica import VolumeReplica

EVERY_S = 1.0
RELEASE_S = 2.0


async def report(replica: VolumeReplica, bus: port.Bus) -> None:
    """For ever. Where the bus is away the next word is as good."""
    while True:
        with contextlib.suppress(port.BusError):
            await bus.publish([_record(replica)])
        await replica.clock.sleep(EVERY_S)


async def release(replica: VolumeReplica, bus: port.Bus) -> None:
    """The replica reads no more."""
    with contextlib.suppress(port.BusError, TimeoutError):
        async with asyncio.timeout(RELEASE_S):
            await bus.publish([_record(replica, released=True)])


def _record(replica: VolumeReplica, *, released: bool = False) -> port.NewRecord:
    seconds = replica.lag.seconds
    event = VolumeReadPointHeld(
        volume=replica.volume,
        reader=replica.name,
        zone=replica.zone,
        copy=replica.copy,
        lsn=replica.oldest_read_lsn,
        applied_lsn=replica.read_point,
        durable_lsn=replica.core.durable_lsn,
        lag_ms=-1.0 if seconds is None else round(seconds * 1000, 1),
        released=released,
    )
    source = f"/volumes/{replica.volume}/replicas/{replica.name}"
    record = publisher.record_of(event, source=source, clock=replica.clock, partition=0)
    return topics.moved(record, layout.topics(replica.volume).read_points)
