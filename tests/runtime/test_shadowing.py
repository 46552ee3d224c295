"""A shadow handles live records, has no effect, and says where it would emit otherwise than the version that runs."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

from tests.support.waiting import eventually

from sixfold import Batch, BatchContext, Context, Event, Function, PermanentError, function
from sixfold.local.differences import Difference
from sixfold.local.shadowing import Shadow
from sixfold.testing import Harness


class Paid(Event, topic="shadowing.paid", key="who"):
    who: str
    cents: int


class Summed(Event, topic="shadowing.summed", key="who"):
    who: str
    cents: int


def summing(*, factor: int = 1, limit: int = 0, later: bool = False) -> Function[..., Any]:
    """One version."""

    @function(on=Paid, emits=[Summed], name="summing", tables=["sums"])
    async def handler(event: Paid, ctx: Context) -> None:
        if event.cents < limit:
            raise PermanentError("below the limit")
        table = ctx.table("sums")
        total = await table.get(event.who, 0) + event.cents * factor
        table.put(event.who, total)
        if later:
            ctx.schedule(datetime.timedelta(seconds=1), Summed(who=event.who, cents=total))
        else:
            ctx.emit(Summed(who=event.who, cents=total))

    return handler


async def compared(harness: Harness, new: Function[..., Any], old: Function[..., Any], *events: Paid) -> Shadow:
    """A shadow that began before `events` were published and saw all of them."""
    found: list[Difference] = []
    began = asyncio.Event()
    shadow = Shadow(new, old, harness.process, identifier="t", begins=began.set, differs=found.append)
    running = asyncio.create_task(shadow.run(asyncio.Event(), count=len(events)))
    await began.wait()
    await harness.publish(*events)
    await harness.until_idle()

    def over() -> bool:
        harness.clock.advance(1)  # type: ignore[attr-defined]
        return running.done()

    await eventually(over, "all are compared")
    report = await running
    assert report.differences == found
    return shadow


async def test_the_same_version_does_not_differ_and_leaves_no_trace() -> None:
    """It goes on from the running version's rows, and commits, stores and publishes nothing."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=100))
        await harness.until_idle()
        shadow = await compared(
            harness, summing(), summing(), Paid(who="a", cents=1), Paid(who="a", cents=-1), Paid(who="b", cents=2)
        )
        assert (shadow.report.compared, shadow.report.differing) == (3, 0)
        assert shadow.group == "summing.shadow.t"
        assert await harness.bus.committed(shadow.group) == {}
        assert len(await harness.emitted(Summed)) == 3
        assert await harness.table(summing(), "sums") == {"a": 101, "b": 2}


async def test_a_version_that_emits_otherwise_is_told_by_record() -> None:
    """With what the running one emitted and what the new one would."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=100))
        await harness.until_idle()
        events = Paid(who="a", cents=0), Paid(who="a", cents=5)
        shadow = await compared(harness, summing(factor=2), summing(), *events)
        assert (shadow.report.compared, shadow.report.differing) == (2, 1)
        [difference] = shadow.report.differences
        assert difference.where.endswith(":2")
        assert [each["data"]["cents"] for each in (*difference.expected, *difference.found)] == [105, 110]


async def test_a_record_that_only_one_of_them_can_handle_differs() -> None:
    """The running version parked it, or the new one would."""
    async with Harness(summing()) as harness:
        shadow = await compared(harness, summing(limit=10), summing(), Paid(who="a", cents=5))
        assert [each.what for each in shadow.report.differences] == ["error", "outputs"]
        assert shadow.report.differences[0].found == ["PermanentError: below the limit"]
    strict = summing(limit=10)
    async with Harness(strict) as harness:
        shadow = await compared(harness, summing(), strict, Paid(who="a", cents=5))
        assert [each.what for each in shadow.report.differences] == ["error", "outputs"]
        assert shadow.report.differences[0].expected == ["PermanentError: below the limit"]
        again = await compared(harness, summing(limit=10), strict, Paid(who="a", cents=5))
        assert again.report.differences == [], "both park it"


async def test_what_a_timer_published_counts_as_what_the_timer_would() -> None:
    """The running version's timer fires before or after the comparison; both are right."""
    old = summing(later=True)
    async with Harness(old) as harness:
        shadow = await compared(harness, summing(later=True), old, Paid(who="a", cents=5))
        assert shadow.report.differences == []


async def test_a_batch_version_is_compared_with_one_that_takes_single_records() -> None:
    """Record by record."""

    @function(on=Paid, emits=[Summed], name="new", tables=["sums"], batch=Batch(size=10))
    async def batched(events: list[Paid], ctx: BatchContext) -> None:
        for index, event in enumerate(events):
            table = ctx[index].table("sums")
            total = await table.get(event.who, 0) + event.cents
            table.put(event.who, total)
            ctx[index].emit(Summed(who=event.who, cents=total))

    async with Harness(summing()) as harness:
        shadow = await compared(harness, batched, summing(), *(Paid(who="a", cents=n) for n in range(20)))
        assert (shadow.report.compared, shadow.report.differing) == (20, 0)


async def test_records_that_nobody_handled_are_waiting_in_the_end() -> None:
    """A shadow that is stopped says how many there were."""
    async with Harness(summing()) as harness:
        await harness.stop()
        stopping = asyncio.Event()
        shadow = Shadow(summing(), summing(), harness.process, identifier="t")
        running = asyncio.create_task(shadow.run(stopping))
        await harness.publish(Paid(who="a", cents=1))
        await eventually(lambda: shadow.report.handled == 1, "the shadow handled it")
        stopping.set()
        report = await running
        assert (report.compared, report.waiting) == (0, 1)
