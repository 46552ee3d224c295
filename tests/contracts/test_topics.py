"""The contract: topics are made, described and deleted."""

from __future__ import annotations

import pytest
from tests.support import buses, naming, waiting
from tests.support.records import everything, make

from sixfold.bus import port


async def test_creating_a_topic_again_changes_nothing(bus: port.Bus, names: naming.Names) -> None:
    """create_topics may be called at every start; the records stay."""
    spec = port.TopicSpec(name=names("again"), partitions=3)
    await bus.create_topics([spec])
    await bus.publish([port.NewRecord(spec.name, b"x", partition=2)])
    await bus.create_topics([spec, port.TopicSpec(name=names("other"), partitions=1)])
    assert await bus.offsets(port.TopicPartition(spec.name, 2)) == (0, 1)
    assert {names("again"), names("other")} <= set(await bus.topics())


async def test_topics_are_described_as_they_were_declared(bus: port.Bus, names: naming.Names) -> None:
    """topics() gives partitions, cleanup, retention and the record limit back."""
    declared = [
        port.TopicSpec(name=names("a"), partitions=2, retention_ms=60_000, retention_bytes=9_000_000),
        port.TopicSpec(name=names("b"), partitions=1, cleanup=port.Cleanup.COMPACT, retention_ms=None),
        port.TopicSpec(name=names("c"), partitions=4, record_bytes_max=123_456),
        port.TopicSpec(name=names("d")),
    ]
    await bus.create_topics(declared)
    found = await bus.topics()
    for spec in declared:
        got = found[spec.name]
        assert (got.partitions, got.cleanup, got.retention_ms) == (spec.partitions, spec.cleanup, spec.retention_ms)
        assert (got.retention_bytes, got.record_bytes_max) == (spec.retention_bytes, spec.record_bytes_max)


async def test_a_topic_with_another_number_of_partitions_is_a_conflict(bus: port.Bus, names: naming.Names) -> None:
    """TopicConflictError; neither that topic nor another of the same call is touched."""
    topic = await make(bus, names("conflict"), 3)
    with pytest.raises(port.TopicConflictError, match=names("conflict")):
        await bus.create_topics(
            [port.TopicSpec(name=names("new"), partitions=1), port.TopicSpec(name=topic, partitions=4)]
        )
    found = await bus.topics()
    assert found[topic].partitions == 3
    assert names("new") not in found


async def test_a_deleted_topic_is_gone_with_its_records_and_committed_offsets(
    bus: port.Bus, names: naming.Names
) -> None:
    """A topic made again under the name starts at zero, for readers and for groups."""
    topic, group = await make(bus, names("deleted")), names("group")
    partition = port.TopicPartition(topic, 0)
    await bus.publish([port.NewRecord(topic, b"old") for _ in range(3)])
    async with bus.assign([partition], group=group) as consumer:
        await consumer.settle(offsets={partition: 3})
    assert await bus.committed(group) == {partition: 3}
    await bus.delete_topic(topic)
    assert topic not in await bus.topics()

    async def nothing_committed() -> bool:
        return not await bus.committed(group)

    await waiting.eventually(nothing_committed, "committed offsets are gone")
    await make(bus, topic)
    await bus.publish([port.NewRecord(topic, b"new")])
    (record,) = await everything(bus, topic, 1)
    assert (record.offset, record.value) == (0, b"new")


async def test_deleting_a_topic_that_does_not_exist_is_an_error(bus: port.Bus, names: naming.Names) -> None:
    """UnknownTopicError, with the name."""
    with pytest.raises(port.UnknownTopicError, match=names("never")):
        await bus.delete_topic(names("never"))


async def test_publishing_to_an_unknown_topic_is_an_error_and_stores_nothing(
    bus: port.Bus, names: naming.Names
) -> None:
    """UnknownTopicError, soon; what else was in the call is not stored."""
    topic = await make(bus, names("known"))
    with pytest.raises(port.UnknownTopicError, match=names("never")):
        await bus.publish([port.NewRecord(topic, b"x"), port.NewRecord(names("never"), b"x")])
    assert await bus.offsets(port.TopicPartition(topic, 0)) == (0, 0)


async def test_a_topic_that_was_deleted_elsewhere_fails_a_publish_over_several_and_nothing_is_stored(
    place: buses.Place, bus: port.Bus, names: naming.Names
) -> None:
    """UnknownTopicError, though this bus had published there before; the other topics take records as before."""
    stays, goes = await make(bus, names("stays")), await make(bus, names("goes"))
    both = [port.NewRecord(stays, b"x"), port.NewRecord(goes, b"x")]
    await bus.publish(both)
    async with buses.open_bus(place) as elsewhere:
        await elsewhere.delete_topic(goes)
    with pytest.raises(port.UnknownTopicError, match=goes):
        await bus.publish(both)
    assert await bus.offsets(port.TopicPartition(stays, 0)) == (0, 1)
    await bus.publish(both[:1])
    assert await bus.offsets(port.TopicPartition(stays, 0)) == (0, 2)


async def test_reading_an_unknown_topic_is_an_error(bus: port.Bus, names: naming.Names) -> None:
    """Joining, pinning, asking for offsets or lag: UnknownTopicError, never a wait without end."""
    unknown = names("never")
    with pytest.raises(port.UnknownTopicError, match=unknown):
        async with bus.subscribe(names("group"), [unknown]):
            pass
    with pytest.raises(port.UnknownTopicError, match=unknown):
        async with bus.assign([port.TopicPartition(unknown, 0)]):
            pass
    with pytest.raises(port.UnknownTopicError, match=unknown):
        await bus.offsets(port.TopicPartition(unknown, 0))
    with pytest.raises(port.UnknownTopicError, match=unknown):
        await bus.lag(names("group"), [unknown])
