"""Opening either back end as the tests want it: everything as in production, only the slow intervals are short."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from sixfold import clock as clocks
from sixfold.bus import port


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a bus is: what a process needs to open it."""

    url: str
    data_dir: Path

    def as_json(self) -> str:
        """For another process."""
        return json.dumps({"url": self.url, "data_dir": str(self.data_dir)})

    @classmethod
    def from_json(cls, text: str) -> Place:
        """What `as_json` wrote."""
        found = json.loads(text)
        return cls(url=found["url"], data_dir=Path(found["data_dir"]))

    @property
    def is_kafka(self) -> bool:
        """Whether this is a cluster."""
        return self.url.startswith("kafka://")


def open_bus(place: Place) -> port.Bus:
    """The bus of `place`, to be entered."""
    clock = clocks.SystemClock()
    if place.is_kafka:
        from sixfold.bus.kafka import client as kafka
        from sixfold.bus.kafka import settings as kafka_settings

        short = kafka_settings.KafkaSettings(
            session_timeout_s=6.0,  # the least that a broker allows by default
            compaction_ms=1000,
            compaction_dirty_ratio=0.01,
            delete_retention_ms=500,
            topic_age_s_max=0.0,
        )
        bootstrap = place.url.removeprefix("kafka://")
        return kafka.KafkaBus(bootstrap, data_dir=place.data_dir, clock=clock, settings=short)
    from sixfold.bus.embedded import client as embedded
    from sixfold.bus.embedded import settings as embedded_settings

    quick = embedded_settings.Settings(housekeeping_s=0.1, tombstone_ms=500, dirty_age_max_ms=200)
    return embedded.EmbeddedBus(place.data_dir / "bus", clock=clock, settings=quick)
