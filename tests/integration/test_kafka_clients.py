"""Clients that are interrupted at any moment leave nothing open."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from tests.support import buses, naming
from tests.support.records import make

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import reading, topics, transactions
from sixfold.bus.kafka import settings as kafka_settings

pytestmark = pytest.mark.kafka
TURNS_MAX = 1000
SETTINGS = kafka_settings.KafkaSettings()
Begin = Callable[[], Coroutine[Any, Any, object]]
Use = Callable[[buses.Place, port.TopicPartition], AbstractAsyncContextManager[Begin]]


@asynccontextmanager
async def administrator(cluster: buses.Place, partition: port.TopicPartition) -> AsyncIterator[Begin]:
    """Opens."""
    admin = topics.TopicAdmin(cluster.url.removeprefix("kafka://"), clocks.SystemClock(), SETTINGS)
    yield admin.open
    await admin.close()


@asynccontextmanager
async def transaction(cluster: buses.Place, partition: port.TopicPartition) -> AsyncIterator[Begin]:
    """Opens a producer, as a takeover does that the group interrupts."""
    opened = transactions.Transactions("g", cluster.url.removeprefix("kafka://"), SETTINGS)
    yield lambda: opened.open([partition])
    await opened.close()


@asynccontextmanager
async def offsets(cluster: buses.Place, partition: port.TopicPartition) -> AsyncIterator[Begin]:
    """Asks for offsets, first for a client to do that with."""
    asking = reading.OffsetReader(cluster.url.removeprefix("kafka://"), SETTINGS)
    yield lambda: asking.ranges([partition])
    await asking.close()


@asynccontextmanager
async def reader(cluster: buses.Place, partition: port.TopicPartition) -> AsyncIterator[Begin]:
    """Opens a consumer, and closes it."""
    async with buses.open_bus(cluster) as bus:

        async def read() -> None:
            async with bus.assign([partition]):
                pass

        yield read


@pytest.mark.parametrize("use", [administrator, transaction, offsets, reader])
async def test_what_is_interrupted_leaves_no_connection_open(
    cluster: buses.Place, kafka: port.Bus, names: naming.Names, use: Use
) -> None:
    """After so many turns of the loop, and more and more, until it gets to its end or has had all its steps."""
    partition = port.TopicPartition(await make(kafka, names("t")), 0)
    steps, over = 0, False
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        while not over:
            async with use(cluster, partition) as begin:
                task = asyncio.ensure_future(begin())
                for _ in range(steps):
                    await asyncio.sleep(0)
                over = task.done() or steps > TURNS_MAX
                task.cancel()
                await asyncio.wait({task})
            del task, begin
            gc.collect()
            steps += 1 + steps // 15
    assert not [str(each.message) for each in found]
