"""Topics of the deploy capability that need other than the default settings."""

from __future__ import annotations

from sixfold.bus import Cleanup, TopicSpec

_DAY_MS = 24 * 3600 * 1000

TOPICS = (
    # Heartbeats of agents make this the busiest; what outlives them is in the compacted topics.
    TopicSpec(name="deploy.events", retention_ms=3 * _DAY_MS),
    TopicSpec(name="deploy.commands", retention_ms=_DAY_MS),
    TopicSpec(name="deploy.status", cleanup=Cleanup.COMPACT),
    TopicSpec(name="deploy.targets", cleanup=Cleanup.COMPACT),
    TopicSpec(name="deploy.instances", cleanup=Cleanup.COMPACT),
    TopicSpec(name="deploy.timers", cleanup=Cleanup.COMPACT, partitions=1),
)
