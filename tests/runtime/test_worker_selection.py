"""Which records a function is called for, and when it is not called: filters, age, circuit breaker, failure topic."""

from __future__ import annotations

import dataclasses
import datetime
import operator
from typing import Any

import msgspec
import pytest
from tests.support.waiting import eventually

from sixfold import Batch, Breaker, Context, Event, Retry, TemporaryError, Tumbling, function
from sixfold.bus import EARLIEST, LATEST, NewRecord, TopicSpec
from sixfold.errors import FunctionBugError
from sixfold.function import FunctionDefinitionError
from sixfold.testing import LIMITS, Harness, ManualClock
from sixfold_events import cloudevents

ONE = [TopicSpec(name="selection.orders", partitions=1)]


class Order(Event, topic="selection.orders", key="number"):
    number: int
    country: str = "de"
    tags: list[str] = msgspec.field(default_factory=list)


class Total(Event, topic="selection.totals", key="country"):
    country: str
    start_ms: int
    orders: int


def record_of(order: Order, **headers: str) -> NewRecord:
    """An order with headers of its own."""
    message = cloudevents.encode(order, cloudevents.Attributes(id=f"o-{order.number}", type="order", source="/shop/eu"))
    more = [(name, value.encode()) for name, value in headers.items()]
    return NewRecord(
        topic=message.topic, value=message.value, key=message.key, headers=[*message.headers, *more], timestamp_ms=5
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"value": {"country": ["fr"]}}, [1]),
        ({"value": {"tags": [{"prefix": "gift"}]}}, [2]),
        ({"key": ["3"]}, [3]),
        ({"headers": {"tenant": ["acme"]}}, [0, 2]),
        ({"headers": {"tenant": ["acme"]}, "value": {"number": [{"numeric": [">", 0]}]}}, [2]),
        ({"attributes": {"source": [{"wildcard": "/shop/*"}], "id": ["o-1", "o-2"]}}, [1, 2]),
        ({"offset": [{"numeric": [">=", 2]}], "partition": [0], "topic": ["selection.orders"], "timestamp": [5]}, [2, 3]),
        ({"$or": [{"value": {"country": ["fr"]}}, {"headers": {"tenant": ["acme"]}}]}, [0, 1, 2]),
        ([{"key": ["0"]}, {"key": ["1"]}], [0, 1]),
    ],
)  # fmt: skip
async def test_a_filter_sees_value_key_headers_attributes_and_position(pattern: Any, expected: list[int]) -> None:
    """What no pattern matches is done without a call: committed, counted, neither parked nor tried again."""
    seen: list[int] = []

    @function(on=Order, filter=pattern)
    async def take(order: Order, ctx: Context) -> None:
        seen.append(order.number)

    orders = [Order(number=0), Order(number=1, country="fr"), Order(number=2, tags=["x", "gift-1"]), Order(number=3)]
    async with Harness(take, topics=ONE) as harness:
        await harness.publish_records(
            *(record_of(each, tenant="acme" if each.number % 2 == 0 else "other") for each in orders[:3]),
            record_of(orders[3], tenant="other"),
        )
        await harness.until_idle()
        assert harness.worker(take).counters.skipped == len(orders) - len(expected)
        assert await harness.dead_letters(take) == []
    assert seen == expected


async def test_a_value_that_cannot_be_decoded_is_parked_where_the_filter_must_look_into_it() -> None:
    """Rubbish is never silently filtered out, unless what can be seen of it says so."""

    @function(on=Order, filter={"key": ["a"], "value": {"country": ["de"]}})
    async def take(order: Order, ctx: Context) -> None:
        raise AssertionError("never called")

    async with Harness(take, topics=ONE) as harness:
        for key in (b"a", b"b"):
            await harness.publish_records(NewRecord("selection.orders", b"?", key=key, headers=[("ce_type", b"order")]))
        await harness.until_idle()
        assert [letter.key for letter in await harness.dead_letters(take)] == [b"a"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({"country": ["de"]}, "take: filter: country: no field of a record; expected one of topic, partition"),
        ({"$or": [{"value": {"a": [1]}}, {"colour": ["red"]}]}, "filter: colour: no field of a record"),
        ({"value": {"country": "de"}}, "filter: value.country: expected an array of alternatives"),
        ([5], "filter: the pattern: expected an object, found 5"),
    ],
)
def test_a_filter_that_cannot_work_is_refused_when_it_is_declared(pattern: Any, message: str) -> None:
    """The message names function, place, what was expected and what was found."""
    with pytest.raises(FunctionDefinitionError) as raised:

        @function(on=Order, filter=pattern)
        async def take(order: Order, ctx: Context) -> None: ...

    assert message in str(raised.value)


async def test_a_record_that_is_too_old_is_parked_before_it_is_tried_and_instead_of_a_retry() -> None:
    """`age_max_s` is by the record's own timestamp."""
    clock = ManualClock()
    seen: list[int] = []

    @function(on=Order, retry=Retry(attempts_max=1000, backoff_s=10, jitter=0, age_max_s=60))
    async def take(order: Order, ctx: Context) -> None:
        seen.append(order.number)
        if order.number == 1:
            raise TemporaryError("never works")

    async with Harness(take, topics=ONE, clock=clock) as harness:
        await harness.publish_records(record_of(Order(number=0)))  # of 1970
        await harness.publish(Order(number=1))
        await harness.until_idle()
        await harness.publish(Order(number=2))
        await harness.until_idle()
        old, failed = await harness.dead_letters(take)
        assert (old.offset, old.attempts) == (0, 1)
        assert "more than age_max_s=60" in old.error_message
        assert (failed.offset, failed.attempts, failed.error_message) == (1, 4, "never works")
    assert seen == [1] * 4 + [2], "at 0, 10, 30 and 60 seconds; at 90 it would be too old"


async def test_while_a_dependency_is_down_the_breaker_leaves_it_in_peace_and_no_record_is_lost() -> None:
    """Few calls while it is down, none is counted against a record that waits; then everything is done in order."""
    clock = ManualClock()
    calls: list[tuple[float, int]] = []
    seen: list[int] = []

    @function(
        on=Order,
        retry=Retry(attempts_max=50, backoff_s=0.1, backoff_max_s=0.1, jitter=0),
        breaker=Breaker(failures=3, pause_s=60, pause_max_s=60),
    )
    async def take(order: Order, ctx: Context) -> None:
        calls.append((clock.monotonic(), order.number))
        if clock.monotonic() < 600:
            raise ConnectionError("the bank does not answer")
        seen.append(order.number)

    async with Harness(take, topics=ONE, clock=clock) as harness:
        await harness.publish(*(Order(number=number) for number in range(20)))
        await harness.until_idle()
        assert await harness.dead_letters(take) == []
    assert seen == list(range(20))
    down = [at for at, _ in calls if at < 600]
    assert 3 + 8 <= len(down) <= 3 + 11, "three that opened it, then one trial a minute"
    assert len(calls) == len(down) + 20


@pytest.mark.parametrize("batch", [None, Batch(size=1, window_s=0)])
async def test_records_that_are_filtered_out_say_nothing_of_a_dependency(batch: Batch | None) -> None:
    """Between failures they do not pass for successes, and as the trial of a half-open circuit they do not jam it."""
    clock = ManualClock()
    calls: list[float] = []

    @function(
        on=Order,
        filter={"value": {"country": ["de"]}},
        retry=Retry(attempts_max=50, backoff_s=0.1, backoff_max_s=0.1, jitter=0),
        ordering="none",
        breaker=Breaker(failures=3, pause_s=60, pause_max_s=60),
        batch=batch,
    )
    async def take(order: Any, ctx: Any) -> None:
        calls.append(clock.monotonic())
        if clock.monotonic() < 300:
            raise ConnectionError("the bank does not answer")

    async with Harness(take, topics=ONE, clock=clock) as harness:
        for number in range(4):
            await harness.publish(Order(number=number), *(Order(number=100 + n, country="fr") for n in range(5)))
        await harness.until_idle()
        assert await harness.dead_letters(take) == []
    down = [at for at in calls if at < 300]
    assert 3 + 4 <= len(down) <= 3 + 6, "three that opened it, then one trial a minute"
    assert len(calls) == len(down) + 4


async def test_on_failure_names_the_topic_where_records_are_parked() -> None:
    """Bytes, key and headers are the original's there, too."""

    @function(on=Order, on_failure="selection.failed", retry=Retry(attempts_max=1))
    async def take(order: Order, ctx: Context) -> None:
        raise ValueError("no")

    async with Harness(take, topics=ONE) as harness:
        await harness.publish(Order(number=7))
        await harness.until_idle()
        (record,) = await harness.records("selection.failed")
        assert record.key == b"7"
        assert "take.dlq" not in await harness.bus.topics()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_failure": "selection.orders"}, "is a topic that it consumes"),
        ({"start": "yesterday"}, 'expected "earliest", "latest" or a datetime with a zone'),
        ({"start": datetime.datetime(2026, 11, 25)}, "has no time zone"),  # noqa: DTZ001
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(arguments: Any, message: str) -> None:
    """Before anything runs, with the mend."""
    with pytest.raises(FunctionDefinitionError, match=message):

        @function(on=Order, **arguments)
        async def take(order: Order, ctx: Context) -> None: ...


def test_a_start_is_a_word_or_a_time() -> None:
    """Words, and any time with a zone."""

    def start_of(start: Any) -> Any:
        @function(on=Order, start=start)
        async def take(order: Order, ctx: Context) -> None: ...

        return take.start

    assert start_of("earliest") == EARLIEST
    assert start_of("latest") == LATEST
    at = datetime.datetime(2014, 11, 12, 17, tzinfo=datetime.UTC)
    assert start_of(at).timestamp_ms == 1415811600000


ORDERS = Tumbling(name="orders", size_s=60, initial=0, add=operator.add)


async def test_windows_are_rows_of_a_table_and_emit_once_when_they_close() -> None:
    """A window counts across restarts of the worker, and its total is emitted once."""

    @function(on=Order, emits=[Total], tables=["orders"])
    async def count(order: Order, ctx: Context) -> None:
        added = await ctx.window(ORDERS).add(order.country, order.number * 1000, 1)
        for closed in added.closed:
            ctx.emit(Total(country=closed.key, start_ms=closed.start_ms, orders=closed.value))

    async with Harness(count, topics=ONE) as harness:
        await harness.publish(Order(number=1), Order(number=2, country="fr"))
        await harness.until_idle()
        await harness.stop()
        harness.start()
        await harness.publish(Order(number=59), Order(number=61), Order(number=130))
        await harness.until_idle()
        assert await harness.emitted(Total) == [
            Total(country="de", start_ms=0, orders=2),
            Total(country="fr", start_ms=0, orders=1),
            Total(country="de", start_ms=60_000, orders=1),
        ]


async def test_a_window_whose_table_is_not_declared_stops_the_function() -> None:
    """As any table."""

    @function(on=Order)
    async def count(order: Order, ctx: Context) -> None:
        await ctx.window(ORDERS).add("x", 0, 1)

    async with Harness(count, topics=ONE) as harness:
        await harness.publish(Order(number=1))
        with pytest.raises(FunctionBugError, match="add it to tables="):
            await harness.until_idle()


async def test_topic_patterns_read_every_topic_that_matches_also_one_that_is_made_later() -> None:
    """Each tenant has a topic; dead letters and the like never match."""
    seen: list[tuple[str, int]] = []

    @function(on=Order, topics="tenants.*", name="tenants.take", retry=Retry(attempts_max=1))
    async def take(order: Order, ctx: Context) -> None:
        seen.append((ctx.record.topic, order.number))
        if order.number == 2:
            raise ValueError("two")

    limits = dataclasses.replace(LIMITS, topics_s=0.05)
    async with Harness(
        take, topics=[TopicSpec(name="tenants.acme"), TopicSpec(name="others.x")], limits=limits
    ) as harness:

        async def send(topic: str, number: int) -> None:
            made = record_of(Order(number=number))
            await harness.publish_records(NewRecord(topic, made.value, key=made.key, headers=made.headers))

        await send("tenants.acme", 1)
        await send("tenants.acme", 2)
        await send("others.x", 3)
        await harness.until_idle()
        assert sorted(seen) == [("tenants.acme", 1), ("tenants.acme", 2)]
        (letter,) = await harness.dead_letters(take)
        assert (letter.topic, letter.offset) in {("tenants.acme", 0), ("tenants.acme", 1)}
        await harness.bus.create_topics([TopicSpec(name="tenants.globex", partitions=1)])
        await send("tenants.globex", 4)
        await eventually(lambda: ("tenants.globex", 4) in seen, "the new topic is read", 10)
        await harness.until_idle()
        assert len(seen) == 3, "what was handled before is not handled again"
