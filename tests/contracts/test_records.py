"""The contract: what is published is what is read."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import naming
from tests.support.records import everything, make

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port


async def test_records_keep_key_value_and_headers_in_order_with_duplicates_and_binary(
    bus: port.Bus, names: naming.Names
) -> None:
    """Nothing of a record is changed: header order, repeated header names and any bytes survive."""
    topic = await make(bus, names("headers"))
    headers = [("b", b"2"), ("a", b"1"), ("b", b""), ("b", bytes(range(256)))]
    await bus.publish([port.NewRecord(topic, b"\x00\xff", key=b"\xfe\x00", headers=headers)])
    (record,) = await everything(bus, topic, 1)
    assert (record.key, record.value) == (b"\xfe\x00", b"\x00\xff")
    assert [tuple(header) for header in record.headers] == headers
    assert (record.topic, record.partition, record.offset) == (topic, 0, 0)


async def test_unicode_survives_in_keys_values_and_header_names(bus: port.Bus, names: naming.Names) -> None:
    """Text outside ASCII comes back as it went in."""
    topic = await make(bus, names("unicode"))
    await bus.publish(
        [port.NewRecord(topic, "größe 😀".encode(), key="ключ".encode(), headers=[("заголовок-名", "värde".encode())])]
    )
    (record,) = await everything(bus, topic, 1)
    assert record.key is not None
    assert record.value is not None
    assert (record.key.decode(), record.value.decode()) == ("ключ", "größe 😀")
    assert [tuple(header) for header in record.headers] == [("заголовок-名", "värde".encode())]


async def test_an_empty_value_is_not_a_tombstone_and_an_empty_key_is_a_key(bus: port.Bus, names: naming.Names) -> None:
    """None and no bytes are different things, in values and in keys."""
    topic = await make(bus, names("empty"))
    await bus.publish(
        [
            port.NewRecord(topic, b"", key=b"a"),
            port.NewRecord(topic, None, key=b"a"),
            port.NewRecord(topic, b"x", key=b""),
            port.NewRecord(topic, b"x", key=None),
        ]
    )
    found = [(record.key, record.value) for record in await everything(bus, topic, 4)]
    assert found == [(b"a", b""), (b"a", None), (b"", b"x"), (None, b"x")]


async def test_timestamps_are_kept_and_default_to_now(bus: port.Bus, names: naming.Names) -> None:
    """A record keeps the time that it was given; without one it is stamped by the publisher's clock."""
    topic = await make(bus, names("stamps"))
    clock = clocks.SystemClock()
    before_ms = clocks.now_ms(clock)
    given_ms = before_ms - 3_600_000
    await bus.publish([port.NewRecord(topic, b"old", timestamp_ms=given_ms), port.NewRecord(topic, b"new")])
    old, new = await everything(bus, topic, 2)
    assert old.timestamp_ms == given_ms
    assert before_ms <= new.timestamp_ms <= clocks.now_ms(clock)


async def test_publish_returns_where_each_record_lies(bus: port.Bus, names: naming.Names) -> None:
    """Positions come in the order of the records, over partitions and topics, and readers find the records there."""
    one, two = await make(bus, names("one"), 3), await make(bus, names("two"), 2)
    records = [port.NewRecord((one, two)[i % 2], b"%d" % i, key=b"%d" % (i // 3)) for i in range(40)]
    positions = await bus.publish(records)
    assert len(positions) == len(records)
    found = await everything(bus, one, 20, 3) + await everything(bus, two, 20, 2)
    lies = {port.Position(record.topic, record.partition, record.offset): record.value for record in found}
    assert [lies[position] for position in positions] == [record.value for record in records]


async def test_a_partition_is_read_in_the_order_in_which_it_was_published(bus: port.Bus, names: naming.Names) -> None:
    """Offsets rise one by one, over many calls of different sizes."""
    topic = await make(bus, names("order"))
    total = 0
    for size in (1, 7, 30, 1, 8, 100, 3):
        await bus.publish([port.NewRecord(topic, b"%d" % (total + i)) for i in range(size)])
        total += size
    found = await everything(bus, topic, total)
    assert [record.offset for record in found] == list(range(total))
    assert [record.value for record in found] == [b"%d" % i for i in range(total)]


async def test_a_big_batch_is_stored_whole_and_in_order(bus: port.Bus, names: naming.Names) -> None:
    """Twenty thousand records in one call, more than fits in any one request to a partition."""
    topic = await make(bus, names("big"), 3)
    records = [port.NewRecord(topic, b"%06d" % i + bytes(100), key=b"%d" % (i % 17)) for i in range(20_000)]
    positions = await bus.publish(records)
    found = await everything(bus, topic, len(records), 3)
    assert len(found) == len(records)
    by_key: dict[bytes | None, list[bytes]] = {}
    for record in sorted(found, key=lambda record: (record.partition, record.offset)):
        by_key.setdefault(record.key, []).append(record.value or b"")
    assert all(values == sorted(values) for values in by_key.values())
    assert len(set(positions)) == len(records)


async def test_concurrent_publishers_keep_the_order_of_each(bus: port.Bus, names: naming.Names) -> None:
    """Publishers of one bus at the same time: each one's records are in its order within a partition."""
    topic = await make(bus, names("concurrent"), 2)

    async def publish(who: int) -> None:
        for i in range(30):
            await bus.publish([port.NewRecord(topic, b"%d:%04d" % (who, i), partition=who % 2)])

    await asyncio.gather(*(publish(who) for who in range(16)))
    found = await everything(bus, topic, 16 * 30, 2)
    for who in range(16):
        mine = [record.value or b"" for record in found if (record.value or b"").startswith(b"%d:" % who)]
        assert mine == [b"%d:%04d" % (who, i) for i in range(30)]


async def test_a_record_too_large_is_refused_and_nothing_of_its_call_is_stored(
    bus: port.Bus, names: naming.Names
) -> None:
    """RecordTooLargeError says so before anything is stored, whatever else was in the call."""
    topic = await make(bus, names("limit"), record_bytes_max=10_000)
    with pytest.raises(port.RecordTooLargeError, match=r"10,?000"):
        await bus.publish([port.NewRecord(topic, b"small"), port.NewRecord(topic, bytes(10_001))])
    await bus.publish([port.NewRecord(topic, bytes(9_900))])
    (record,) = await everything(bus, topic, 1)
    assert record.offset == 0
    assert len(record.value or b"") == 9_900


async def test_a_topic_may_take_records_of_several_megabytes(bus: port.Bus, names: naming.Names) -> None:
    """`record_bytes_max` may lie above the default, and such a record is read like any other."""
    topic = await make(bus, names("large"), record_bytes_max=3_100_000)
    value = bytes(range(250)) * 12_000
    await bus.publish([port.NewRecord(topic, b"before"), port.NewRecord(topic, value), port.NewRecord(topic, b"after")])
    found = await everything(bus, topic, 3)
    assert [record.value for record in found] == [b"before", value, b"after"]


async def test_a_topic_with_a_small_limit_takes_a_big_batch_of_small_records(
    bus: port.Bus, names: naming.Names
) -> None:
    """The limit is on the record, not on what is published together."""
    topic = await make(bus, names("small"), record_bytes_max=1_000)
    await bus.publish([port.NewRecord(topic, bytes(900)) for _ in range(500)])
    assert len(await everything(bus, topic, 500)) == 500


async def test_a_pinned_partition_wins_over_the_key_and_must_exist(bus: port.Bus, names: naming.Names) -> None:
    """`partition` decides where a record goes; one that the topic does not have is refused."""
    topic = await make(bus, names("pinned"), 4)
    positions = await bus.publish([port.NewRecord(topic, b"x", key=b"same", partition=number) for number in (3, 0, 2)])
    assert [position.partition for position in positions] == [3, 0, 2]
    with pytest.raises(errors.SixfoldError, match="partition"):
        await bus.publish([port.NewRecord(topic, b"x", partition=4)])


async def test_publishing_nothing_is_nothing(bus: port.Bus, names: naming.Names) -> None:
    """An empty call returns no positions."""
    assert await bus.publish([]) == []
