"""The age of the first record that is not committed is read from the bus, on both buses, whoever consumes."""

from __future__ import annotations

from collections.abc import Callable

from sixfold.bus import Bus, NewRecord, TopicPartition, TopicSpec
from sixfold.clock import SystemClock, now_ms
from sixfold.gateway.ages import PARTITIONS_MAX, Ages

BASE_MS = now_ms(SystemClock()) - 3_600_000
"""An hour ago: retention takes nothing away meanwhile."""


async def test_the_first_record_at_each_position_is_found_and_read_once(bus: Bus, names: Callable[[str], str]) -> None:
    """Two groups that stand in one partition each get theirs; where nothing lies there is none; a topic with many
    partitions takes several looks."""
    topic = names("ages")
    await bus.create_topics([TopicSpec(name=topic, partitions=2)])
    await bus.publish([NewRecord(topic, b"x", partition=0, timestamp_ms=BASE_MS + n) for n in range(5)])
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    ages = Ages(bus, SystemClock())
    found = await ages.first([(zero, -1), (zero, 3), (zero, 5), (one, 0)])
    assert found == {(zero, -1): BASE_MS, (zero, 3): BASE_MS + 3, (zero, 5): None, (one, 0): None}
    await bus.publish([NewRecord(topic, b"x", partition=0, timestamp_ms=BASE_MS + 5)])
    assert await ages.first([(zero, 5), (zero, 3)]) == {(zero, 5): BASE_MS + 5, (zero, 3): BASE_MS + 3}
    await bus.delete_topic(topic)
    assert await ages.first([(zero, 5), (zero, 3)]) == {(zero, 5): BASE_MS + 5, (zero, 3): BASE_MS + 3}, "asked the bus"


async def test_a_look_reads_a_bounded_number_of_partitions(bus: Bus, names: Callable[[str], str]) -> None:
    """The others have their turn in the next look."""
    topic = names("many")
    count = PARTITIONS_MAX + 5
    await bus.create_topics([TopicSpec(name=topic, partitions=count)])
    await bus.publish([NewRecord(topic, b"x", partition=n, timestamp_ms=BASE_MS + n) for n in range(count)])
    wanted = [(TopicPartition(topic, n), 0) for n in range(count)]
    ages = Ages(bus, SystemClock())
    assert len(await ages.first(wanted)) == PARTITIONS_MAX
    assert await ages.first(wanted) == {at: BASE_MS + at[0].partition for at in wanted}
