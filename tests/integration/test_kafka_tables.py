"""Tables on Kafka beyond the contract: late writers, copies that outlive their process, tables larger than memory."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import buses, members, naming, waiting
from tests.support.records import make, numbered, values

from sixfold.bus import port

pytestmark = pytest.mark.kafka


@pytest.fixture
def cluster(kafka_bootstrap: str, tmp_path: Path) -> buses.Place:
    """A place on the session's Kafka."""
    return buses.Place(f"kafka://{kafka_bootstrap}", tmp_path)


@pytest.fixture
async def kafka(cluster: buses.Place, names: naming.Names) -> AsyncIterator[port.Bus]:
    """A bus there."""
    async with buses.open_bus(cluster) as bus:
        yield bus
        await names.delete_all(cluster)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
async def test_a_row_that_leaves_its_owner_late_does_not_overwrite_the_next_owners(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names, *, first: bool
) -> None:
    """A member sleeps between its last check and the broker; the row that it sends after it has lost the partition is
    refused, be it the table's first or not, so nobody ever restores it."""
    topic, group = await make(kafka, names("t")), names("g")
    partition = port.TopicPartition(topic, 0)
    await numbered(kafka, topic, 0, 10)
    async with members.joined(cluster, group, [topic]) as sleeper:
        await sleeper.fetch(10)
        if not first:
            await sleeper.settle({partition: 2}, state=[("table", 0, "k", "early")])
        await sleeper.call("stop_at_next_row")
        settling = asyncio.create_task(sleeper.settle({partition: 4}, state=[("table", 0, "k", "late")]))
        await sleeper.stopped()
        async with kafka.subscribe(group, [topic]) as heir:
            start = 0 if first else 2
            assert values(await waiting.collect(heir, 10 - start)) == list(range(start, 10))
            await heir.settle(state=[port.StatePut("table", 0, b"k", b"new")], offsets={partition: 8})
            os.kill(sleeper.pid, signal.SIGCONT)
            with pytest.raises(AssertionError, match="FencedError"):
                await settling
            await sleeper.kill()
            await heir.settle(state=[port.StatePut("table", 0, b"other", b"x")], offsets={partition: 9})
    async with kafka.subscribe(group, [topic]) as third:
        await waiting.assigned(third, 1)
        assert await third.state_scan("table", 0) == [(b"k", b"new"), (b"other", b"x")]
        assert values(await waiting.collect(third, 1)) == [9]
