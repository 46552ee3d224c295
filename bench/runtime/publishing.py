"""Publishing: our `Publisher` beside aiokafka's `send`, with the same settings, events and headers."""

from __future__ import annotations

import functools

from bench.runtime import load, rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError, command, job, started
from sixfold.bus import TopicPartition, TopicSpec
from sixfold.bus.kafka.settings import KafkaSettings

RECORDS = 240_000


async def publishing(lab: Lab) -> Outcome:
    """Events a second from the first call to the last acknowledgement, encoding included."""
    rates = await rounds.interleaved(
        {
            "ours": functools.partial(_rate, lab, "ours", "publish"),
            "bare": functools.partial(_rate, lab, "bare.bare_publisher", "publish"),
        },
        lab.scale.rounds,
    )
    outcome = Outcome()
    outcome.add_ratio("publish_vs_bare", rates["ours"], rates["bare"])
    return outcome


async def _rate(lab: Lab, side: str, mode: str) -> float:
    topic, count = lab.name("published"), lab.scale.records(RECORDS)
    await lab.bus.create_topics([TopicSpec(name=topic, partitions=load.PARTITIONS)])
    settings = KafkaSettings()
    work = job(lab, topic, count, mode=mode, linger_ms=settings.linger_ms, batch_bytes=settings.batch_bytes)
    async with started(command(side, work)) as running:
        result = await running.said()
    stored = 0
    for partition in range(load.PARTITIONS):
        stored += (await lab.bus.offsets(TopicPartition(topic, partition))).end
    await lab.bus.delete_topic(topic)
    if stored != count:
        raise SideError(f"{side}: expected {count} records in {topic}, found {stored}")
    return float((count - work.warm) / (result["last_s"] - result["first_s"]))
