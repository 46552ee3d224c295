"""Delivery: what happens to an event that comes twice, and to a transaction."""

from __future__ import annotations

from collections import Counter

import pytest

from sixfold import Batch, BatchContext, Context, Event, Retry, TemporaryError, function
from sixfold.bus import NewRecord, TopicSpec
from sixfold.function import FunctionDefinitionError
from sixfold.testing import Harness, ManualClock
from sixfold_events import cloudevents

ONE = [TopicSpec(name="delivery.orders", partitions=1)]


class Order(Event, topic="delivery.orders", key="number"):
    number: int


class Bill(Event, topic="delivery.bills", key="number"):
    number: int


def order(number: int, event_id: str | None = None, source: str = "/test") -> NewRecord:
    """An order with an id of the sender's own."""
    attributes = cloudevents.Attributes(id=event_id or f"o-{number}", type="order", source=source)
    message = cloudevents.encode(Order(number=number), attributes)
    return NewRecord(topic=message.topic, value=message.value, key=message.key, headers=message.headers)


@pytest.mark.parametrize("ordering", ["partition", "key"])
async def test_an_event_that_comes_twice_is_handled_once(ordering: str) -> None:
    """Sent again at once, later, and after a restart; another event is another one."""
    handled: Counter[int] = Counter()

    @function(on=Order, emits=[Bill], delivery="effectively-once", ordering=ordering)  # type: ignore[arg-type]
    async def bill(each: Order, ctx: Context) -> None:
        handled[each.number] += 1
        ctx.emit(Bill(number=each.number))

    async with Harness(bill, topics=ONE) as harness:
        await harness.publish_records(order(1), order(1), order(2))
        await harness.until_idle()
        await harness.publish_records(order(1), order(3))
        await harness.until_idle()
        await harness.stop()
        harness.start()
        await harness.publish_records(order(3), order(2), order(4))
        await harness.until_idle()
        assert len(await harness.emitted(Bill)) == 4
        assert harness.worker(bill).counters.skipped == 4
    assert handled == Counter({1: 1, 2: 1, 3: 1, 4: 1})


async def test_an_attempt_that_failed_does_not_count_as_handled() -> None:
    """In place or through a retry topic: the id is noted with the success."""
    for mode in ("block", "topic"):
        done: list[int] = []

        @function(
            on=Order,
            delivery="effectively-once",
            retry=Retry(backoff_s=1, mode=mode),
        )
        async def bill(each: Order, ctx: Context) -> None:
            if ctx.attempt < 3:
                raise TemporaryError("not yet")
            done.append(each.number)  # noqa: B023

        async with Harness(bill, topics=ONE) as harness:
            await harness.publish_records(order(1), order(1))
            await harness.until_idle()
        assert done == [1]


async def test_events_are_known_as_long_as_was_asked_and_old_rows_go() -> None:
    """After `dedupe_s`, and a quarter of it at most, an id may come again; a settle adds one row and deletes old ones."""
    clock = ManualClock(0)
    handled: Counter[int] = Counter()

    @function(on=Order, delivery="effectively-once", dedupe_s=100)
    async def bill(each: Order, ctx: Context) -> None:
        handled[each.number] += 1

    async with Harness(bill, topics=ONE, clock=clock) as harness:
        await harness.publish_records(*(order(number) for number in range(50)))
        await harness.until_idle()
        first = await harness.table_rows(bill, "sixfold-seen")
        assert sum(len(row) for row in first.values()) == 50 * 8
        assert len(first) < 10, "rows come by settles, not by records"
        await harness.advance(99)
        await harness.publish_records(order(0), order(50))
        await harness.until_idle()
        assert handled[0] == 1
        await harness.advance(27)
        await harness.publish_records(*(order(number) for number in (0, 50, 61)))
        await harness.until_idle()
        assert (handled[0], handled[50]) == (2, 1)
        assert not first.keys() & (await harness.table_rows(bill, "sixfold-seen")).keys()


async def test_the_same_id_of_another_source_is_another_event() -> None:
    """As CloudEvents says: source and id together are unique."""
    handled: list[int] = []

    @function(on=Order, delivery="effectively-once")
    async def bill(each: Order, ctx: Context) -> None:
        handled.append(each.number)

    async with Harness(bill, topics=ONE) as harness:
        await harness.publish_records(order(1, "same"), order(2, "same", "/other"), order(1, "same"))
        await harness.until_idle()
    assert handled == [1, 2]


async def test_whoever_keeps_state_counts_an_event_once_also_through_functions_that_keep_none() -> None:
    """Without a word about delivery: what a function without state emits again has the ids of the first time."""
    totals: list[tuple[int, int]] = []

    @function(on=Order, emits=[Bill])
    async def forward(each: Order, ctx: Context) -> None:
        ctx.emit(Bill(number=each.number))

    @function(on=Bill, tables=["counts"])
    async def count(bill: Bill, ctx: Context) -> None:
        counts = ctx.table("counts")
        seen = await counts.get(str(bill.number), 0) + 1
        counts.put(str(bill.number), seen)
        totals.append((bill.number, seen))

    assert forward.delivery == "at-least-once"
    assert count.delivery == "effectively-once"
    async with Harness(forward, count, topics=ONE) as harness:
        await harness.publish_records(order(1), order(2), order(1))
        await harness.until_idle()
        await harness.publish_records(order(2))
        await harness.until_idle()
        assert len(await harness.emitted(Bill)) == 4
    assert sorted(totals) == [(1, 1), (2, 1)]


async def test_batches_are_handled_once_too_also_within_one_batch() -> None:
    """Twice in one batch, and again in a later one."""
    handled: Counter[int] = Counter()

    @function(on=Order, emits=[Bill], delivery="effectively-once", batch=Batch(size=4, window_s=0))
    async def bill(orders: list[Order], ctx: BatchContext) -> None:
        for index, each in enumerate(orders):
            handled[each.number] += 1
            ctx[index].emit(Bill(number=each.number))
        if ctx.attempt == 1 and len(orders) > 1:
            ctx.fail(1, TemporaryError("once"))

    async with Harness(bill, topics=ONE) as harness:
        await harness.publish_records(order(1), order(1), order(2), order(3))
        await harness.until_idle()
        await harness.publish_records(order(3), order(2), order(4))
        await harness.until_idle()
        assert Counter(each.number for each in await harness.emitted(Bill)) == Counter({1: 1, 2: 1, 3: 1, 4: 1})
    assert handled == Counter({1: 1, 2: 2, 3: 2, 4: 1}), "2 and 3 were tried again, since one of them failed"


def test_deliveries_that_cannot_be_kept_are_refused_when_they_are_declared() -> None:
    """Side by side two deliveries of one event could both be the first."""
    with pytest.raises(FunctionDefinitionError, match="must not run side by side"):

        @function(on=Order, delivery="effectively-once", ordering="none")
        async def one(each: Order, ctx: Context) -> None: ...

    with pytest.raises(FunctionDefinitionError, match="dedupe_s is 0, expected 1 or more seconds"):

        @function(on=Order, tables=["rows"], dedupe_s=0)
        async def five(each: Order, ctx: Context) -> None: ...

    with pytest.raises(FunctionDefinitionError, match="expected one of at-least-once, effectively-once, exactly-once"):

        @function(on=Order, delivery="sometimes")  # type: ignore[arg-type]
        async def two(each: Order, ctx: Context) -> None: ...

    with pytest.raises(FunctionDefinitionError, match="'sixfold-seen' is taken"):

        @function(on=Order, tables=["sixfold-seen"])
        async def three(each: Order, ctx: Context) -> None: ...

    with pytest.raises(FunctionDefinitionError, match="without rows there is nothing to copy"):

        @function(on=Order, standby=True)
        async def four(each: Order, ctx: Context) -> None: ...
