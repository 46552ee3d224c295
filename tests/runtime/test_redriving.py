"""Dead letters are sent back to the one function that failed, or put away."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from tests.support.waiting import eventually

from sixfold import Context, Event, Retry, function
from sixfold.bus import TopicSpec
from sixfold.clock import SystemClock
from sixfold.redriving import DeadLetters, TooManyGapsError
from sixfold.testing import LIMITS, Harness

LIMITS_QUICK = dataclasses.replace(LIMITS, topics_s=0.05)
ONE = [TopicSpec(name="redrive.orders", partitions=3)]


class Order(Event, topic="redrive.orders", key="number"):
    number: int


class Bill(Event, topic="redrive.bills", key="number"):
    number: int


class Shop:
    """Two functions on one topic; one of them does not work until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.other: Counter[int] = Counter()
        self.positions: list[tuple[str, int, int]] = []

        @function(
            on=Order, emits=[Bill], tables=["sums"], name="redrive.bill", retry=Retry(attempts_max=1, age_max_s=60)
        )
        async def bill(order: Order, ctx: Context) -> None:
            self.positions.append((ctx.record.topic, ctx.record.partition, ctx.record.offset))
            table = ctx.table("sums")
            table.put("sum", await table.get("sum", 0) + order.number)
            if self.broken:
                raise ValueError("broken")
            ctx.emit(Bill(number=order.number))

        @function(on=Order, name="redrive.other")
        async def other(order: Order, ctx: Context) -> None:
            self.other[order.number] += 1

        self.bill, self.functions = bill, (bill, other)


async def test_a_redrive_reaches_the_function_that_failed_and_nobody_else() -> None:
    """Once it is mended: original position, its tables, and no second delivery to the other function."""
    shop = Shop()
    async with Harness(*shop.functions, topics=ONE, limits=LIMITS_QUICK, clock=SystemClock()) as harness:
        await harness.publish(*(Order(number=n) for n in range(10)))
        await harness.until_idle()
        assert len(await harness.dead_letters(shop.bill)) == 10
        before = sorted(shop.positions)
        shop.positions.clear()
        shop.broken = False
        async with DeadLetters(harness.bus, shop.bill) as letters:
            done = await letters.redrive(None, rate_per_s=1000)
            assert done.sent == list(range(10))
            assert [each async for each in letters.letters()] == []
        await eventually(lambda: len(shop.positions) == 10, "all came back", 20)
        await harness.until_idle()
        assert sorted(shop.positions) == before
        assert sorted(bill.number for bill in await harness.emitted(Bill)) == list(range(10))
        rows = [await harness.table(shop.bill, "sums")]
        assert rows
        assert shop.other == Counter(range(10))


async def test_letters_are_chosen_by_number_dropped_and_counted_when_they_come_back() -> None:
    """What was taken is not listed; what fails again says how often; at the limit it is left alone."""
    shop = Shop()
    async with Harness(*shop.functions, topics=ONE, limits=LIMITS_QUICK, clock=SystemClock()) as harness:
        await harness.publish(*(Order(number=n) for n in range(5)))
        await harness.until_idle()
        async with DeadLetters(harness.bus, shop.bill) as letters:
            assert await letters.drop({1, 3}) == [1, 3]
            assert (await letters.redrive({0})).sent == [0]
        await eventually(lambda: len(shop.positions) == 6, "it came back and failed", 20)
        await harness.until_idle()
        async with DeadLetters(harness.bus, shop.bill) as letters:
            left = [(each.number, each.letter.redrives) async for each in letters.letters()]
            assert left == [(2, 0), (4, 0), (5, 1)]
            assert len([each async for each in letters.letters(handled=True)]) == 6
            done = await letters.redrive(None, redrives_max=1)
            assert (done.sent, done.looping) == ([2, 4], [5])


async def test_a_redrive_keeps_its_rate() -> None:
    """Ten letters at a hundred a second take a tenth of a second of the clock, at least."""
    shop = Shop()
    slept: list[float] = []

    class Watched(SystemClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    async with Harness(*shop.functions, topics=ONE, limits=LIMITS_QUICK, clock=SystemClock()) as harness:
        await harness.publish(*(Order(number=n) for n in range(10)))
        await harness.until_idle()
        seen: list[int] = []
        async with DeadLetters(harness.bus, shop.bill, clock=Watched()) as letters:
            await letters.redrive(None, rate_per_s=20, progress=seen.append)
        assert seen == [2, 4, 6, 8, 10]
        assert sum(slept) == pytest.approx(0.5)


async def test_more_holes_than_can_be_remembered_are_refused() -> None:
    """Every second of thousands of letters: the error says from where to begin; nothing is lost."""
    shop = Shop()
    async with Harness(*shop.functions, topics=ONE, limits=LIMITS_QUICK, clock=SystemClock()) as harness:
        await harness.publish(*(Order(number=n) for n in range(6000)))
        await harness.until_idle(60)
        async with DeadLetters(harness.bus, shop.bill) as letters:
            with pytest.raises(TooManyGapsError, match="take the oldest first, from number 0 on"):
                await letters.drop(set(range(1, 6000, 2)))
            assert len([each async for each in letters.letters()]) == 6000
            assert len(await letters.drop(set(range(5000)))) == 5000
            assert len([each async for each in letters.letters()]) == 1000
