"""The contract: the settings of a topic change while its records stay."""

from __future__ import annotations

import msgspec
import pytest
from tests.support import naming, waiting
from tests.support.records import everything, make

from sixfold.bus import port


def same(found: port.TopicSpec, spec: port.TopicSpec) -> bool:
    """Equal but for what a back end decides by itself."""
    return msgspec.structs.replace(found, replication=None) == msgspec.structs.replace(spec, replication=None)


async def test_a_topics_settings_are_changed_and_its_records_stay(bus: port.Bus, names: naming.Names) -> None:
    """Cleanup, retention by time and size, the record limit: each way, as topics() then says."""
    spec = port.TopicSpec(name=names("settings"), partitions=2, retention_ms=60_000_000, retention_bytes=50_000_000)
    await bus.create_topics([spec])
    await bus.publish([port.NewRecord(spec.name, b"x", partition=1)])
    for changes in (
        {"retention_ms": 90_000_000, "record_bytes_max": 200_000},
        {"retention_ms": None, "retention_bytes": None},
        {"cleanup": port.Cleanup.COMPACT, "record_bytes_max": 2_000_000},
        {"cleanup": port.Cleanup.DELETE, "retention_ms": 80_000_000},
    ):
        spec = msgspec.structs.replace(spec, **changes)
        await bus.alter_topic(spec)

        async def shown(wanted: port.TopicSpec = spec) -> bool:
            return same((await bus.topics())[wanted.name], wanted)

        await waiting.eventually(shown, "the new settings are shown")
    assert await bus.offsets(port.TopicPartition(spec.name, 1)) == (0, 1)


async def test_a_new_record_limit_holds_at_once(bus: port.Bus, names: naming.Names) -> None:
    """For the bus that changed it: larger records go through, or no longer."""
    topic = await make(bus, names("limit"))
    spec = (await bus.topics())[topic]
    large = port.NewRecord(topic, b"x" * 1_200_000)
    with pytest.raises(port.RecordTooLargeError):
        await bus.publish([large])
    await bus.alter_topic(msgspec.structs.replace(spec, record_bytes_max=1_500_000))

    async def taken() -> bool:
        try:
            await bus.publish([large])
        except port.RecordTooLargeError:
            return False
        return True

    await waiting.eventually(taken, "the larger record is taken")
    await bus.alter_topic(spec)
    with pytest.raises(port.RecordTooLargeError):
        await bus.publish([large])


async def test_a_topic_gets_more_partitions(bus: port.Bus, names: naming.Names) -> None:
    """Old records stay where they are, new partitions are empty and can be written, read and joined."""
    topic, group = await make(bus, names("grow"), 2), names("group")
    await bus.publish([port.NewRecord(topic, b"old", partition=number) for number in range(2)])
    await bus.alter_topic(msgspec.structs.replace((await bus.topics())[topic], partitions=5))
    assert (await bus.topics())[topic].partitions == 5
    assert await bus.offsets(port.TopicPartition(topic, 4)) == (0, 0)
    await bus.publish([port.NewRecord(topic, b"new", partition=4)])
    keyed = await bus.publish([port.NewRecord(topic, b"", key=str(number).encode()) for number in range(60)])
    assert {position.partition for position in keyed} == set(range(5))
    assert len(await everything(bus, topic, 63, 5)) == 63
    async with bus.subscribe(group, [topic]) as consumer:
        assert len(await waiting.assigned(consumer, 5)) == 5
    assert set(await bus.lag(group, [topic])) == {port.TopicPartition(topic, number) for number in range(5)}


async def test_a_change_that_cannot_be_made_changes_nothing(bus: port.Bus, names: naming.Names) -> None:
    """TopicConflictError for fewer partitions, UnknownTopicError for a topic that is not there."""
    topic = await make(bus, names("less"), 3)
    spec = (await bus.topics())[topic]
    with pytest.raises(port.TopicConflictError, match="3 partitions"):
        await bus.alter_topic(msgspec.structs.replace(spec, partitions=2, record_bytes_max=5))
    assert (await bus.topics())[topic] == spec
    with pytest.raises(port.UnknownTopicError, match=names("never")):
        await bus.alter_topic(port.TopicSpec(name=names("never")))


async def test_altering_a_topic_to_what_it_is_changes_nothing(bus: port.Bus, names: naming.Names) -> None:
    """A plan may be applied again."""
    spec = port.TopicSpec(name=names("same"), partitions=3, retention_bytes=9_000_000)
    await bus.create_topics([spec])
    before = (await bus.topics())[spec.name]
    await bus.alter_topic(spec)
    assert (await bus.topics())[spec.name] == before
