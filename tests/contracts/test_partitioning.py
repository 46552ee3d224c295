"""The contract: which partition a record goes to."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support import naming
from tests.support.records import make

from sixfold.bus import murmur2, port

VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Keys and their signed hashes from Apache Kafka's own UtilsTest."""


@pytest.mark.parametrize("partitions", [1, 2, 7, 12])
async def test_a_key_goes_to_the_partition_that_kafkas_murmur2_names(
    bus: port.Bus, names: naming.Names, partitions: int
) -> None:
    """Java's clients and ours agree where a key is, on every number of partitions."""
    topic = await make(bus, names("murmur"), partitions)
    positions = await bus.publish([port.NewRecord(topic, b"x", key=key) for key in VECTORS])
    expected = [(signed & 0x7FFFFFFF) % partitions for signed in VECTORS.values()]
    assert [position.partition for position in positions] == expected
    assert [murmur2.murmur2(key) for key in VECTORS] == [signed & 0xFFFFFFFF for signed in VECTORS.values()]


async def test_records_of_one_key_share_a_partition_whoever_publishes_them(bus: port.Bus, names: naming.Names) -> None:
    """One call or many: a key does not move."""
    topic = await make(bus, names("keys"), 6)
    together = await bus.publish([port.NewRecord(topic, b"x", key=b"%d" % (i % 10)) for i in range(40)])
    alone = [(await bus.publish([port.NewRecord(topic, b"x", key=b"%d" % i)]))[0] for i in range(10)]
    for i in range(10):
        assert {p.partition for p in [*together[i::10], alone[i]]} == {alone[i].partition}


async def test_records_without_a_key_fill_the_partitions_in_turn(bus: port.Bus, names: naming.Names) -> None:
    """No partition is preferred: each gets its share, within one call and over many."""
    topic = await make(bus, names("turn"), 3)
    positions = await bus.publish([port.NewRecord(topic, b"x") for _ in range(9)])
    for _ in range(9):
        positions += await bus.publish([port.NewRecord(topic, b"x")])
    assert Counter(position.partition for position in positions) == {0: 6, 1: 6, 2: 6}
