"""Topics of the pipeline room that need other than the default settings."""

from __future__ import annotations

from sixfold.bus import port
from sixfold_events import pipeline as events

TOPICS = (
    # A year, as CodePipeline keeps the history of executions: what the command line shows is folded from it.
    port.TopicSpec(name=events.TOPIC, retention_ms=365 * 24 * 3600 * 1000),
)
