"""What is measured: one event type of about 200 bytes as Avro, with every header that production writes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sixfold import Context, Event, clock, function, publisher
from sixfold.bus import NewRecord, TopicSpec

TOPIC = "bench.readings"
PARTITIONS = 6
SPEC = TopicSpec(name=TOPIC, partitions=PARTITIONS)


class Reading(Event, topic=TOPIC, key="sensor"):
    """A sensor's reading; 200 bytes as Avro."""

    sensor: str
    sent_ns: int
    value: float
    note: str


def reading(index: int) -> Reading:
    """The `index`-th reading, stamped with the machine's monotonic clock, which all its processes share."""
    return Reading(sensor=f"sensor-{index % 997}", sent_ns=time.monotonic_ns(), value=index / 7, note="n" * 165)


def records(count: int, start: int = 0) -> Sequence[NewRecord]:
    """`count` readings as records with all headers, built as a publisher builds them."""
    system = clock.SystemClock()
    return [publisher.record_of(reading(start + index), source="/bench", clock=system) for index in range(count)]


@function(on=Reading, name="bench.noop")
async def noop(event: Reading, ctx: Context) -> None:
    """Take a reading and do nothing with it."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
