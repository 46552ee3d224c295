"""What was said last about a volume: by its readers, and by the tracker about copies that do not answer."""

from __future__ import annotations

from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeReadPointHeld
from sixfold_functions.volume import status as states
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout

REPLICA_HEARD_S = 5.0
"""A replica says every second how it is."""
REPLICA_WORDS = 100
"""Five of each of fifteen replicas, as many as Aurora has, and some that came and went."""


async def held(bus: port.Bus, registry: Registry, volume: str, now_ms: int) -> list[VolumeReadPointHeld]:
    """What readers said in the last seconds."""
    since_ms = now_ms - int(REPLICA_HEARD_S * 1000)
    events = [
        topics.decoded(registry, record)
        for record in await topics.last_records(bus, layout.topics(volume).read_points, REPLICA_WORDS)
        if record.timestamp_ms >= since_ms
    ]
    return [event for event in events if isinstance(event, VolumeReadPointHeld)]


async def tracked(bus: port.Bus, registry: Registry, volume: str) -> states.Tracked | None:
    """The tracker's last view."""
    for record in await topics.last_records(bus, layout.topics(volume).status, 1):
        event = topics.decoded(registry, record)
        if isinstance(event, states.Tracked):
            return event
    return None
