"""Kafka in a container, as CI and most users' machines have it: started by testcontainers, used through the bus."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import brokers, buses, naming, waiting
from tests.support.records import contents, make, numbered, values

from sixfold.bus import port


@pytest.mark.containers
@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_broker_in_a_container_takes_a_whole_round_trip(container_engine: None, tmp_path: Path) -> None:
    """Publish, consume in a group, settle in a transaction; a reader of committed records sees that and nothing else."""
    with brokers.contained() as bootstrap:
        names = naming.Names()
        async with buses.open_bus(buses.Place(f"kafka://{bootstrap}", tmp_path)) as bus:
            topic, output = await make(bus, names("t"), 3), await make(bus, names("out"))
            for number in range(3):
                await numbered(bus, topic, 100 * number, 20, partition=number)
            async with bus.subscribe(names("g"), [topic]) as consumer:
                found = await waiting.collect(consumer, 60)
                assert sorted(values(found)) == [100 * number + i for number in range(3) for i in range(20)]
                await consumer.settle(
                    records=[port.NewRecord(output, record.value) for record in found],
                    state={("seen", number): {b"records": b"20"} for number in range(3)},
                    offsets={port.TopicPartition(topic, number): 20 for number in range(3)},
                    atomic=True,
                )

            async def copied() -> bool:
                return await contents(bus, output) == [record.value for record in found]

            await waiting.eventually(copied, "the transaction's records are visible")
            async with bus.subscribe(names("g"), [topic]) as consumer:
                await waiting.assigned(consumer, 3)
                assert [await consumer.state_get("seen", number, b"records") for number in range(3)] == [b"20"] * 3
                assert await consumer.fetch(wait_s=0.5) == {}
            assert sum((await bus.lag(names("g"), [topic])).values()) == 0
