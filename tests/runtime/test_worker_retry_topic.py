"""Retries through a topic: a record that failed waits elsewhere, and those behind it go on."""

from __future__ import annotations

from collections import Counter

import pytest

from sixfold import Batch, BatchContext, Context, Event, PermanentError, Retry, TemporaryError, function
from sixfold.bus import TopicSpec
from sixfold.function import FunctionDefinitionError
from sixfold.testing import Harness, ManualClock
from sixfold_events import cloudevents

ONE = [TopicSpec(name="again.orders", partitions=1)]


class Order(Event, topic="again.orders", key="customer"):
    number: int
    customer: str = "c"


class Reminder(Event, topic="again.reminders", key="number"):
    number: int


async def test_a_retry_through_a_topic_holds_nobody_up_and_keeps_the_records_place() -> None:
    """Those behind it go on; each attempt sees the original position, so it would emit the same ids."""
    seen: list[tuple[int, int, int, str]] = []

    @function(on=Order, emits=[Reminder], retry=Retry(attempts_max=4, backoff_s=60, jitter=0, mode="topic"))
    async def handle(order: Order, ctx: Context) -> None:
        seen.append((order.number, ctx.attempt, ctx.record.offset, ctx.record.topic))
        if order.number == 0 and ctx.attempt < 3:
            raise TemporaryError("not yet")
        ctx.emit(Reminder(number=order.number))

    async with Harness(handle, topics=ONE) as harness:
        await harness.publish(*(Order(number=n) for n in range(3)))
        await harness.until_idle()
        assert [number for number, *_ in seen] == [0, 1, 2, 0, 0]
        assert {(offset, topic) for number, _, offset, topic in seen if number == 0} == {(0, "again.orders")}
        assert [attempt for number, attempt, *_ in seen if number == 0] == [1, 2, 3]
        assert sorted(each.number for each in await harness.emitted(Reminder)) == [0, 1, 2]
        ids = {dict(record.headers)["ce_id"] for record in await harness.records("again.reminders")}
        causes = [
            cloudevents.cause_of("again.orders", 0, each.offset, cloudevents.attributes_of(each.headers))
            for each in await harness.records("again.orders")
        ]
        expected = {cloudevents.derived_id("handle", cause, 0).encode() for cause in causes}
        assert ids == expected


async def test_a_retry_through_a_topic_ends_in_a_dead_letter_with_the_original_place() -> None:
    """After the last attempt, and at once for PermanentError; bytes, key and headers are the original's."""

    @function(on=Order, retry=Retry(attempts_max=3, backoff_s=60, mode="topic"))
    async def handle(order: Order, ctx: Context) -> None:
        if order.number == 1 and ctx.attempt == 2:
            raise PermanentError("no more")
        raise TemporaryError("down")

    async with Harness(handle, topics=ONE) as harness:
        await harness.publish(Order(number=0), Order(number=1))
        original = await harness.records("again.orders")
        await harness.until_idle()
        letters = {letter.offset: letter for letter in await harness.dead_letters(handle)}
        assert {(each.topic, each.partition, each.attempts) for each in letters.values()} == {
            ("again.orders", 0, 3),
            ("again.orders", 0, 2),
        }
        for record in original:
            letter = letters[record.offset]
            assert (letter.value, letter.key, list(letter.headers)) == (record.value, record.key, list(record.headers))


async def test_retries_through_a_topic_outlive_the_worker() -> None:
    """They are timers: stopped in between, each record is still tried again, and none twice for one attempt."""
    clock = ManualClock()
    tries: Counter[tuple[int, int]] = Counter()

    @function(on=Order, retry=Retry(attempts_max=3, backoff_s=3600, backoff_max_s=7200, jitter=0, mode="topic"))
    async def handle(order: Order, ctx: Context) -> None:
        tries[order.number, ctx.attempt] += 1
        if ctx.attempt < 3:
            raise TemporaryError("down")

    async with Harness(handle, topics=ONE, clock=clock) as harness:
        for number in range(5):
            await harness.publish(Order(number=number))
        while tries[4, 1] == 0:
            await harness.bus.lag("handle", ["again.orders"])
        await harness.stop()
        clock.advance(86400)
        harness.start()
        await harness.until_idle()
    assert tries == Counter({(number, attempt): 1 for number in range(5) for attempt in (1, 2, 3)})


async def test_batches_retry_through_a_topic_record_by_record() -> None:
    """What failed of a batch comes back later, in batches of its own."""
    calls: list[list[tuple[int, int]]] = []

    @function(
        on=Order, batch=Batch(size=4, window_s=0), retry=Retry(attempts_max=3, backoff_s=60, jitter=0, mode="topic")
    )
    async def handle(orders: list[Order], ctx: BatchContext) -> None:
        calls.append([(order.number, ctx[index].record.offset) for index, order in enumerate(orders)])
        for index, order in enumerate(orders):
            if order.number == 2:
                ctx.fail(index, TemporaryError("down"))

    async with Harness(handle, topics=ONE) as harness:
        await harness.publish(*(Order(number=n) for n in range(4)))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(handle)
        assert (letter.offset, letter.attempts) == (2, 3)
    assert calls == [[(0, 0), (1, 1), (2, 2), (3, 3)], [(2, 2)], [(2, 2)]]


def test_tables_and_retries_through_a_topic_exclude_each_other() -> None:
    """A fold in order, and records out of it: refused when it is declared."""
    with pytest.raises(FunctionDefinitionError, match="a table is a fold of its records in order"):

        @function(on=Order, tables=["sums"], retry=Retry(mode="topic"))
        async def handle(order: Order, ctx: Context) -> None: ...
