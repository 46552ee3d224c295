"""Tables of functions that read several topics: one writer, one order, whichever topic an event came by."""

from __future__ import annotations

import asyncio
import random

import pytest

from sixfold import Context, Event, function
from sixfold.bus import TopicSpec
from sixfold.testing import Harness


class Bought(Event, topic="state.bought", key="customer"):
    customer: str
    amount: int


class Refunded(Event, topic="state.refunded", key="customer"):
    customer: str
    amount: int


TOPICS = [TopicSpec(name="state.bought", partitions=4), TopicSpec(name="state.refunded", partitions=4)]


@pytest.mark.parametrize("seed", range(5))
async def test_rows_are_the_exact_fold_of_all_topics_events(seed: int) -> None:
    """Handlers of both topics take turns on a row, however many run at once and however long they take."""
    rng = random.Random(seed)

    @function(on=[Bought, Refunded], tables=["sums"], concurrency=8)
    async def balance(event: Bought | Refunded, ctx: Context) -> None:
        table = ctx.table("sums")
        before = await table.get(event.customer, 0)
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        table.put(event.customer, before + (event.amount if isinstance(event, Bought) else -event.amount))

    expected: dict[str, int] = {}
    async with Harness(balance, topics=TOPICS) as harness:
        for _ in range(20):
            events: list[Event] = []
            for _ in range(20):
                customer, amount = f"c{rng.randrange(5)}", rng.randrange(1, 9)
                if rng.random() < 0.5:
                    events.append(Bought(customer=customer, amount=amount))
                    expected[customer] = expected.get(customer, 0) + amount
                else:
                    events.append(Refunded(customer=customer, amount=amount))
                    expected[customer] = expected.get(customer, 0) - amount
            await harness.publish(*events)
            if rng.random() < 0.2:
                await harness.until_idle()
                await harness.stop()
                harness.start()
        await harness.until_idle()
        assert await harness.table(balance, "sums") == expected


async def test_partitions_of_different_numbers_run_side_by_side_all_the_same() -> None:
    """Sharing a lane is for those that share rows."""
    running = most = 0
    met = asyncio.Event()

    @function(on=[Bought, Refunded], tables=["sums"], concurrency=8)
    async def wait(event: Bought | Refunded, ctx: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            met.set()
        await asyncio.wait_for(met.wait(), 10)
        running -= 1

    async with Harness(wait, topics=TOPICS) as harness:
        await harness.publish(*(Bought(customer=f"c{n}", amount=n) for n in range(40)))
        await harness.until_idle()
    assert most == 4, "one for each of four partition numbers"
