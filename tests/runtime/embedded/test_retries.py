"""A request that was sent again, because its owner died before it answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import batches, link, settings, wire
from sixfold.bus.embedded.client import EmbeddedBus

CLOCK = clocks.SystemClock()


@pytest.fixture
async def bus(folder: Path) -> AsyncIterator[EmbeddedBus]:
    """A bus with topic `t` of two partitions."""
    async with EmbeddedBus(folder, clock=CLOCK) as opened:
        await opened.create_topics([port.TopicSpec(name="t", partitions=2)])
        yield opened


@pytest.fixture
async def client(bus: EmbeddedBus, folder: Path) -> AsyncIterator[link.Link]:
    """A bare connection, to send requests as a retrying client does."""
    opened = link.Link(folder, settings.Settings(), CLOCK)
    await opened.open()
    yield opened
    await opened.close()


def batch(partition: int, *values: bytes) -> wire.Batch:
    """Records to append."""
    encoded = [batches.encode_record(port.NewRecord("t", value), 1) for value in values]
    return wire.Batch(partition, len(encoded), 1, max(map(len, encoded)), batches.payload(encoded))


def write(client: link.Link, *found: wire.Batch, **fields: object) -> wire.Write:
    """A write of `client`."""
    return wire.Write(
        producer=client.producer,
        sent_ms=clocks.now_ms(CLOCK),
        batches=list(found),
        **fields,  # type: ignore[arg-type]
    )


async def again(client: link.Link, request: wire.Write) -> list[int]:
    """Send `request` as a retry of itself."""
    sequence, link_next = request.sequence, client._sequence
    client._sequence = iter([sequence])  # type: ignore[assignment]
    request.retry = True
    try:
        return (await client.call(request, wire.Written)).bases
    finally:
        client._sequence = link_next


async def test_a_retry_of_what_was_stored_is_answered_with_where_it_lies(bus: EmbeddedBus, client: link.Link) -> None:
    """Several batches, two of them in one partition, and records of others between: nothing is stored again."""
    topic = await bus.topic("t")
    one, two = topic.partitions
    await client.write([batch(one, b"earlier")])
    request = write(client, batch(one, b"a", b"b"), batch(two, b"c"), batch(one, b"d"))
    first = (await client.call(request, wire.Written)).bases
    await bus.publish([port.NewRecord("t", b"other", partition=0), port.NewRecord("t", b"other", partition=1)])
    await client.write([batch(one, b"later")])
    assert await again(client, request) == first == [1, 0, 3]
    assert [(await bus.offsets(port.TopicPartition("t", number))).end for number in (0, 1)] == [6, 2]


async def test_a_retry_of_what_was_not_stored_is_stored(bus: EmbeddedBus, client: link.Link) -> None:
    """The owner died before the commit: the retry is the first that the log sees."""
    topic = await bus.topic("t")
    await client.write([batch(topic.partitions[0], b"earlier")])
    request = write(client, batch(topic.partitions[0], b"a"))
    request.sequence = 1000
    assert await again(client, request) == [1]


async def test_a_retried_commit_does_not_take_a_later_one_back(bus: EmbeddedBus, client: link.Link) -> None:
    """Two commits were stored and neither was answered: sent again in their order, the offset stays at the second."""
    (partition, _) = (await bus.topic("t")).partitions
    first = write(client, group="g", offsets=[(partition, 5)], state=[wire.State("s", 0, b"k", b"at 5")])
    second = write(client, group="g", offsets=[(partition, 9)], state=[wire.State("s", 0, b"k", b"at 9")])
    await client.call(first, wire.Written)
    await client.call(second, wire.Written)
    await again(client, first)
    assert await bus.committed("g") == {port.TopicPartition("t", 0): 9}
    async with bus.assign([port.TopicPartition("t", 0)], group="g") as consumer:
        assert await consumer.state_get("s", 0, b"k") == b"at 9"
