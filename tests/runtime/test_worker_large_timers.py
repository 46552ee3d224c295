"""Events that are scheduled, and records that wait for a retry, are rows: too large ones fail their record, clearly."""

from __future__ import annotations

import datetime

from sixfold import Context, Event, Retry, TemporaryError, function
from sixfold.bus import TopicSpec, port
from sixfold.testing import Harness


class Order(Event, topic="timed.orders", key="number"):
    number: int
    text: str = ""


class Reminder(Event, topic="timed.reminders", key="number"):
    number: int
    text: str


async def test_an_event_too_large_to_be_scheduled_fails_its_record_alone() -> None:
    """Larger than a row, or than its topic will take when it is due: parked at once; the others are kept and fire."""
    small = TopicSpec(name="timed.reminders", record_bytes_max=2_000_000)
    smaller = TopicSpec(name="timed.reminders", record_bytes_max=5_000)
    for spec, size in ((small, 1_500_000), (smaller, 6_000)):

        @function(on=Order, emits=[Reminder], name="reminding")
        async def remind(order: Order, ctx: Context) -> None:
            text = "x" * (size if order.number == 1 else 1)  # noqa: B023 (called within this turn)
            ctx.schedule(datetime.timedelta(seconds=10), Reminder(number=order.number, text=text))

        async with Harness(remind, topics=[spec]) as harness:
            await harness.publish(*(Order(number=n) for n in range(3)))
            await harness.until_idle()
            (letter,) = await harness.dead_letters(remind)
            assert letter.attempts == 1
            assert "large data elsewhere" in letter.error_message
            assert harness.worker(remind).counters.restarts == 0
            await harness.advance(20)
            await harness.until_idle()
            assert sorted(each.number for each in await harness.emitted(Reminder)) == [0, 2]


async def test_a_record_too_large_to_wait_for_its_retry_is_parked_and_says_so() -> None:
    """With retries through a topic the record itself is kept as a row; one that is no row's size is not tried for ever."""

    @function(on=Order, name="retrying", retry=Retry(mode="topic", attempts_max=3))
    async def retry(order: Order, ctx: Context) -> None:
        raise TemporaryError("not yet")

    async with Harness(retry) as harness:
        await harness.publish(Order(number=1, text="x" * (port.ROW_BYTES_MAX - 100)), Order(number=2))
        await harness.until_idle()
        letters = {letter.key: letter for letter in await harness.dead_letters(retry)}
        assert {key: letter.attempts for key, letter in letters.items()} == {b"1": 1, b"2": 3}
        assert harness.worker(retry).counters.restarts == 0
