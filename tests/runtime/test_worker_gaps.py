"""Records finished out of order are not handled again after a restart: the gaps are kept beside the committed offset."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.support.waiting import eventually

from sixfold import Context, Event, Retry, TemporaryError, function
from sixfold.bus import TopicPartition, TopicSpec
from sixfold.testing import Harness, ManualClock

ONE = [TopicSpec(name="gaps.orders", partitions=1)]


class Order(Event, topic="gaps.orders", key="number"):
    number: int


class Bill(Event, topic="gaps.bills", key="number"):
    number: int


async def test_what_was_finished_above_a_stuck_record_is_not_handled_again_after_a_crash() -> None:
    """One record waits for its retry; hundreds behind it are done; the worker is killed; only the one comes again."""
    handled: Counter[int] = Counter()
    clock = ManualClock()

    @function(on=Order, emits=[Bill], ordering="key", concurrency=4, retry=Retry(backoff_s=3600, attempts_max=99))
    async def bill(order: Order, ctx: Context) -> None:
        handled[order.number] += 1
        if order.number in (0, 77) and clock.monotonic() < 10:
            raise TemporaryError("not yet")
        ctx.emit(Bill(number=order.number))

    async with Harness(bill, topics=ONE, clock=clock) as harness:
        await harness.publish(*(Order(number=number) for number in range(300)))
        # Keys that share a lane with a record that waits wait behind it.
        await eventually(lambda: len(handled) > 270, "nearly all were tried", 10)
        # The crash: its tasks end without letting go, as a kill does; what was settled is settled.
        await eventually(lambda: harness.worker(bill).activity().busy is False, "all is settled", 10)
        for task in harness._tasks:
            task.cancel()
        await asyncio.gather(*harness._tasks, return_exceptions=True)
        assert await harness.bus.committed("bill") == {TopicPartition("gaps.orders", 0): 0}
        assert set(handled.values()) == {1}
        clock.advance(20)
        harness.start()
        await harness.until_idle()
        assert sorted(bill.number for bill in await harness.emitted(Bill)) == list(range(300))
        assert await harness.bus.committed("bill") == {TopicPartition("gaps.orders", 0): 300}
    assert {number: count for number, count in handled.items() if count > 1} == {0: 2, 77: 2}


async def test_gaps_survive_many_restarts_one_after_the_other() -> None:
    """Each restart knows what all earlier ones finished, while the stuck record stays where it is."""
    handled: Counter[int] = Counter()
    clock = ManualClock()

    @function(
        on=Order, ordering="none", concurrency=3, retry=Retry(backoff_s=3600, backoff_max_s=3600, attempts_max=99)
    )
    async def bill(order: Order, ctx: Context) -> None:
        handled[order.number] += 1
        if order.number == 0 and clock.monotonic() < 10:
            raise TemporaryError("not yet")

    async with Harness(bill, topics=ONE, clock=clock) as harness:
        for step in range(5):
            await harness.publish(*(Order(number=number) for number in range(step * 20, step * 20 + 20)))
            await eventually(lambda step=step: len(handled) == step * 20 + 20, "tried", 10)  # type: ignore[misc]
            await harness.stop()
            harness.start()
        clock.advance(20)
        await harness.until_idle()
    assert {number for number, count in handled.items() if count > 1} == {0}
