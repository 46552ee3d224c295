"""Time: durable timers, and functions that run by the clock."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

import pytest

from sixfold import Context, Event, Retry, TemporaryError, function
from sixfold.bus import TopicSpec
from sixfold.cadence import CadenceError, Cron, Interval
from sixfold.clock import now_ms
from sixfold.context import UndeclaredEmitError
from sixfold.errors import FunctionBugError
from sixfold.function import FunctionDefinitionError
from sixfold.testing import Harness, ManualClock
from sixfold_events import cloudevents
from sixfold_events.system import Tick

ONE = [TopicSpec(name="time.orders", partitions=1)]
HOUR = datetime.timedelta(hours=1)


class Order(Event, topic="time.orders", key="customer"):
    number: int
    customer: str = "c"


class Reminder(Event, topic="time.reminders", key="number"):
    number: int


@function(on=Order, emits=[Reminder])
async def remind(order: Order, ctx: Context) -> None:
    """Remind an hour later; a negative number takes the named reminder away."""
    if order.number < 0:
        ctx.unschedule("later")
    elif order.number >= 100:
        ctx.schedule(HOUR, Reminder(number=order.number), name="later")
    else:
        ctx.schedule(HOUR, Reminder(number=order.number))


async def test_a_timer_fires_at_its_time_and_not_before() -> None:
    """The event comes with an id derived from its cause, and says what caused it."""
    async with Harness(remind, topics=ONE) as harness:
        await harness.publish(Order(number=1), Order(number=2), correlation_id="chain")
        await harness.until_idle()
        await harness.advance(3599)
        assert await harness.emitted(Reminder) == []
        await harness.advance(1)
        assert sorted(each.number for each in await harness.emitted(Reminder)) == [1, 2]
        records = await harness.records("time.reminders")
        attributes = [cloudevents.attributes_of(record.headers) for record in records]
        assert {each.correlation_id for each in attributes} == {"chain"}
        assert len({each.id for each in attributes}) == 2
        await harness.advance(100_000)
        assert len(await harness.emitted(Reminder)) == 2


async def test_a_timer_outlives_the_worker_and_fires_late_rather_than_never() -> None:
    """Set, stopped for a day, started again: it fires then, once."""
    clock = ManualClock()
    async with Harness(remind, topics=ONE, clock=clock) as harness:
        await harness.publish(Order(number=1))
        await harness.until_idle()
        await harness.stop()
        clock.advance(86400)
        harness.start()
        await harness.until_idle()
        assert await harness.emitted(Reminder) == [Reminder(number=1)]
        await harness.stop()
        harness.start()
        await harness.advance(86400)
        assert await harness.emitted(Reminder) == [Reminder(number=1)]


async def test_a_named_timer_is_replaced_and_taken_away_for_its_key() -> None:
    """The last word counts."""
    async with Harness(remind, topics=ONE) as harness:
        await harness.publish(Order(number=100))
        await harness.until_idle()
        await harness.advance(1800)
        await harness.publish(Order(number=101))
        await harness.until_idle()
        await harness.advance(1800)
        assert await harness.emitted(Reminder) == []
        await harness.advance(1800)
        assert await harness.emitted(Reminder) == [Reminder(number=101)]
        await harness.publish(Order(number=102), Order(number=-1))
        await harness.until_idle()
        await harness.advance(86400)
        assert await harness.emitted(Reminder) == [Reminder(number=101)]


async def test_a_handler_that_fails_sets_no_timer() -> None:
    """A timer takes effect with the handler's return, as an emit does."""

    @function(on=Order, emits=[Reminder], retry=Retry(attempts_max=2, backoff_s=0.1))
    async def fail(order: Order, ctx: Context) -> None:
        ctx.schedule(HOUR, Reminder(number=ctx.attempt))
        if ctx.attempt == 1:
            raise TemporaryError("once")

    async with Harness(fail, topics=ONE) as harness:
        await harness.publish(Order(number=1))
        await harness.until_idle()
        await harness.advance(86400)
        assert await harness.emitted(Reminder) == [Reminder(number=2)]


async def test_a_retry_sets_timers_as_a_first_attempt_does() -> None:
    """By name, too: a timer that a retry set is replaced by a later event of its key."""

    @function(on=Order, emits=[Reminder], retry=Retry(attempts_max=3, backoff_s=10, mode="topic"))
    async def later(order: Order, ctx: Context) -> None:
        if ctx.attempt == 1 and order.number == 1:
            raise TemporaryError("once")
        ctx.schedule(HOUR, Reminder(number=order.number), name="x")

    async with Harness(later, topics=[TopicSpec(name="time.orders", partitions=6)]) as harness:
        await harness.publish(Order(number=1))
        await harness.until_idle()
        await harness.advance(1800)
        await harness.publish(Order(number=2))
        await harness.until_idle()
        await harness.advance(1900)
        assert await harness.emitted(Reminder) == []
        await harness.advance(1800)
        assert await harness.emitted(Reminder) == [Reminder(number=2)]


class Paid(Event, topic="time.payments", key="customer"):
    number: int
    customer: str = "c"


async def test_a_timer_that_one_topic_set_is_taken_away_by_another() -> None:
    """Names belong to the key's partition number, whichever topic its events came by."""

    @function(on=[Order, Paid], emits=[Reminder])
    async def unpaid(event: Order | Paid, ctx: Context) -> None:
        if isinstance(event, Order):
            ctx.schedule(HOUR, Reminder(number=event.number), name=f"{event.number}")
        else:
            ctx.unschedule(f"{event.number}")

    async with Harness(unpaid) as harness:
        await harness.publish(*(Order(number=n, customer=f"c{n}") for n in range(20)))
        await harness.until_idle()
        await harness.stop()
        harness.start()
        await harness.publish(*(Paid(number=n, customer=f"c{n}") for n in range(0, 20, 2)))
        await harness.until_idle()
        await harness.advance(3600)
        assert sorted(each.number for each in await harness.emitted(Reminder)) == list(range(1, 20, 2))


async def test_many_timers_fire_in_order_of_their_times() -> None:
    """Whatever the order in which they were set; orderings other than by partition may set timers, too."""

    @function(on=Order, emits=[Reminder], ordering="none", concurrency=4)
    async def spread(order: Order, ctx: Context) -> None:
        ctx.schedule(datetime.timedelta(seconds=(order.number * 37) % 500 + 1), Reminder(number=order.number))

    topics = [TopicSpec(name="time.reminders", partitions=1)]
    async with Harness(spread, topics=topics) as harness:
        await harness.publish(*(Order(number=n, customer=f"c{n}") for n in range(500)))
        await harness.until_idle()
        for _ in range(101):
            await harness.advance(5)
        numbers = [each.number for each in await harness.emitted(Reminder)]
    assert sorted(numbers) == list(range(500))
    steps = [((number * 37) % 500) // 5 for number in numbers]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("at", "event", "error"),
    [
        (HOUR, Order(number=1), UndeclaredEmitError),
        (datetime.datetime(2026, 11, 25), Reminder(number=1), FunctionBugError),  # noqa: DTZ001
    ],
)
async def test_a_timer_that_contradicts_the_declaration_stops_the_function(at: Any, event: Any, error: Any) -> None:
    """As an emit does; a time without a zone is no time."""

    @function(on=Order, emits=[Reminder])
    async def wrong(order: Order, ctx: Context) -> None:
        ctx.schedule(at, event)

    async with Harness(wrong, topics=ONE) as harness:
        await harness.publish(Order(number=1))
        with pytest.raises(error):
            await harness.until_idle()


async def test_a_function_runs_by_the_clock_without_any_event() -> None:
    """Every day at three; each tick says the time that it is for. A day that was missed is made up for once."""
    ticks: list[str] = []

    @function(every="0 3 * * *", emits=[Reminder])
    async def nightly(tick: Tick, ctx: Context) -> None:
        ticks.append(datetime.datetime.fromtimestamp(tick.at_ms / 1000, datetime.UTC).strftime("%d %H:%M"))

    clock = ManualClock()  # 12 November 2014, 17:00 UTC
    async with Harness(nightly, clock=clock) as harness:
        await harness.until_idle()
        await harness.advance(10 * 3600 - 1)
        assert ticks == []
        await harness.advance(1)
        await harness.advance(86400)
        assert ticks == ["13 03:00", "14 03:00"]
        await harness.stop()
        clock.advance(3 * 86400)
        harness.start()
        await harness.until_idle()
        assert ticks == ["13 03:00", "14 03:00", "15 03:00"]
        await harness.advance(86400)
        assert ticks[3:] == ["18 03:00"]


async def test_two_functions_have_ticks_of_their_own_and_a_changed_cadence_replaces_the_old_one() -> None:
    """All ticks go through one topic; nobody handles another's."""
    seen: Counter[str] = Counter()

    def declare(every: Any) -> Any:
        @function(every=every, name="one")
        async def one(tick: Tick, ctx: Context) -> None:
            seen[tick.function] += 1

        @function(every=datetime.timedelta(minutes=10), name="two")
        async def two(tick: Tick, ctx: Context) -> None:
            seen[tick.function] += 1

        return one, two

    async with Harness(*declare(datetime.timedelta(minutes=30))) as harness:
        await harness.until_idle()
        for _ in range(6):
            await harness.advance(600)
        assert seen == {"one": 2, "two": 6}
        folder = harness.data_dir
        await harness.stop()
        seen.clear()
        async with Harness(*declare("* * * * *"), data_dir=folder / "again") as other:
            await other.until_idle()
            await other.advance(60)
        assert seen["one"] == 1


@pytest.mark.parametrize(
    ("every", "message"),
    [
        ("0 3 * *", "has 4 fields, expected 5"),
        ("61 3 * * *", "is no cron expression"),
        (datetime.timedelta(0), "expected 0.1 s to a year"),
    ],
)
def test_a_cadence_that_names_no_time_is_refused_when_it_is_declared(every: Any, message: str) -> None:
    """With what was expected."""
    with pytest.raises(FunctionDefinitionError, match=message):

        @function(every=every)
        async def never(tick: Tick, ctx: Context) -> None: ...


def test_cron_follows_the_clocks_of_its_zone() -> None:
    """Three in the morning in Berlin is 02:00 UTC in winter, 01:00 in summer; a lost hour's job runs once."""

    def times(cron: Cron, start: datetime.datetime, count: int) -> list[str]:
        at, found = round(start.timestamp() * 1000), []
        for _ in range(count):
            at = cron.next_ms(at)
            found.append(datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).strftime("%m-%d %H:%M"))
        return found

    spring = datetime.datetime(2026, 3, 27, 12, tzinfo=datetime.UTC)
    assert times(Cron("0 3 * * *", "Europe/Berlin"), spring, 3) == ["03-28 02:00", "03-29 01:00", "03-30 01:00"]
    assert len(set(times(Cron("30 2 * * *", "Europe/Berlin"), spring, 3))) == 3
    with pytest.raises(CadenceError, match="unknown time zone"):
        Cron("0 3 * * *", "Europe/Atlantis")
    assert Interval(10).next_ms(10_000) == 20_000


def test_the_manual_clock_says_the_same_in_both_ways() -> None:
    """Timers are by the wall clock, waits by the monotonic one: in tests they move together."""
    clock = ManualClock()
    before = now_ms(clock)
    clock.advance(1.5)
    assert now_ms(clock) - before == 1500
