"""What fails, and what becomes of it: time limits, rubbish, foreign types, outputs too large, errors of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from tests.support.waiting import eventually

from sixfold import Context, Event, Retry, function
from sixfold.bus import NewRecord, TopicSpec
from sixfold.clock import SystemClock
from sixfold.testing import Harness
from sixfold_events import cloudevents


class Order(Event, topic="failures.orders", key="number"):
    number: int


class Cancelled(Event, topic="failures.orders", key="number"):
    number: int


class Receipt(Event, topic="failures.receipts", key="number"):
    number: int
    text: str


def raw(value: bytes | None, event_type: str | None, number: int = 0) -> NewRecord:
    """A record as anybody may write it."""
    headers = [("ce_id", b"x"), ("colour", b"blue")] + ([("ce_type", event_type.encode())] if event_type else [])
    return NewRecord(topic="failures.orders", value=value, key=str(number).encode(), headers=headers)


def good(number: int) -> NewRecord:
    """An order as our publisher writes it."""
    message = cloudevents.encode(
        Order(number=number), cloudevents.Attributes(id=f"order-{number}", type="order", source="/test")
    )
    return NewRecord(topic=message.topic, value=message.value, key=message.key, headers=message.headers)


async def test_a_handler_past_its_time_limit_is_cancelled_and_the_attempt_counts_as_failed() -> None:
    """The record is tried again and parked in the end; records behind it go on."""
    cancelled = 0
    begun = asyncio.Event()

    @function(on=Order, name="slow", timeout_s=0.05, retry=Retry(attempts_max=2, backoff_s=0.01))
    async def slow(order: Order, ctx: Context) -> None:
        nonlocal cancelled
        begun.set()
        if order.number == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise

    async with Harness(slow, clock=SystemClock(), topics=[TopicSpec(name="failures.orders", partitions=1)]) as harness:
        await harness.publish(*(Order(number=n) for n in range(3)))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(slow)
        assert "timeout_s=0.05" in letter.error_message
        assert letter.attempts == 2
        assert harness.worker(slow).counters.attempts == 4
    assert cancelled == 2


async def test_a_handler_that_swallows_its_cancellation_and_returns_is_done() -> None:
    """It took too long, but what it did is done; its runner is not left cancelled."""
    handled: list[int] = []

    @function(on=Order, name="stubborn", timeout_s=0.05)
    async def stubborn(order: Order, ctx: Context) -> None:
        if order.number == 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        handled.append(order.number)

    async with Harness(stubborn, clock=SystemClock()) as harness:
        await harness.publish(*(Order(number=n) for n in range(5)))
        await harness.until_idle()
        assert await harness.dead_letters(stubborn) == []
    assert sorted(handled) == [0, 1, 2, 3, 4]


async def test_a_plain_handler_past_its_time_limit_is_never_run_twice_at_once() -> None:
    """A thread cannot be stopped, so the next attempt waits until it has ended."""
    release = threading.Event()
    inside = 0
    most = 0
    attempts: list[int] = []

    @function(on=Order, name="thread", timeout_s=0.05, retry=Retry(backoff_s=0.001))
    def thread(order: Order, ctx: Context) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            release.wait(10)
        inside -= 1

    async with Harness(thread, clock=SystemClock()) as harness:
        await harness.publish(Order(number=0))
        await eventually(lambda: harness.worker(thread).counters.attempts == 1, "the first attempt takes too long")
        release.set()
        await harness.until_idle()
    assert (most, attempts) == (1, [1, 2])


async def test_a_handler_that_raises_cancelled_error_itself_has_failed() -> None:
    """Nobody cancelled it, so it is an error like any other, and the worker goes on."""
    attempts = 0

    @function(on=Order, name="odd", retry=Retry(attempts_max=2))
    async def odd(order: Order, ctx: Context) -> None:
        nonlocal attempts
        attempts += 1
        raise asyncio.CancelledError

    async with Harness(odd) as harness:
        await harness.publish(Order(number=0))
        await harness.until_idle()
        assert len(await harness.dead_letters(odd)) == 1
    assert attempts == 2


@pytest.mark.parametrize(
    ("value", "event_type", "says"),
    [
        (b"rubbish", "order", "0x00 and a 4-byte schema id"),
        (b"\0\0\0\0\x07x", "order", "schema id 7"),
        (b"", "order", "nothing"),
        (b"rubbish", None, "no ce_type header"),
        (b"rubbish", "invoice", "unknown type 'invoice'"),
    ],
)
async def test_rubbish_is_parked_as_it_came_and_holds_nobody_up(
    value: bytes, event_type: str | None, says: str
) -> None:
    """A record that is no event goes to the dead-letter topic with its bytes, key, headers and position."""
    handled: list[int] = []

    @function(on=Order, name="strict")
    async def strict(order: Order, ctx: Context) -> None:
        handled.append(order.number)

    spec = TopicSpec(name="failures.orders", partitions=1)
    async with Harness(strict, topics=[spec]) as harness:
        await harness.publish_records(good(1), raw(value, event_type, 2), good(3))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(strict)
        assert (letter.value, letter.key) == (value, b"2")
        assert (letter.topic, letter.partition, letter.offset) == ("failures.orders", 0, 1)
        assert ("colour", b"blue") in letter.headers
        assert says in letter.error_message
        assert letter.function == "strict"
    assert handled == [1, 3]


async def test_other_types_of_the_topic_and_tombstones_are_skipped() -> None:
    """A function is given its own types only; a type that a newer producer added disturbs nobody."""
    handled: list[int] = []

    @function(on=Order, name="one-of-many")
    async def one_of_many(order: Order, ctx: Context) -> None:
        handled.append(order.number)

    async with Harness(one_of_many, events=[Cancelled]) as harness:
        await harness.publish(Cancelled(number=1), Order(number=2))
        await harness.publish_records(raw(None, None, 3), raw(b"?", "of.tomorrow", 4))
        await harness.until_idle()
        counters = harness.worker(one_of_many).counters
        assert await harness.dead_letters(one_of_many) == []
        assert (counters.records, counters.skipped, counters.attempts) == (4, 3, 1)
    assert handled == [2]


async def test_an_output_too_large_fails_alone() -> None:
    """The record whose output no topic takes is parked at once; the outputs of the others are stored."""

    @function(on=Order, emits=[Receipt], name="verbose")
    async def verbose(order: Order, ctx: Context) -> None:
        ctx.emit(Receipt(number=order.number, text="x" * (1_100_000 if order.number == 1 else 1)))

    async with Harness(verbose) as harness:
        await harness.publish(*(Order(number=n) for n in range(3)))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(verbose)
        assert letter.attempts == 1
        assert "failures.receipts" in letter.error_message
        assert sorted(receipt.number for receipt in await harness.emitted(Receipt)) == [0, 2]


async def test_the_largest_record_can_be_parked() -> None:
    """The dead-letter topic takes what its sources take, and the details on top."""

    @function(on=Receipt, name="never", retry=Retry(attempts_max=1))
    async def never(receipt: Receipt, ctx: Context) -> None:
        raise ValueError("y" * 100_000)

    async with Harness(never) as harness:
        await harness.publish(Receipt(number=1, text="x" * 999_000))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(never)
        assert len(letter.value or b"") > 999_000
        assert len(letter.error_message) == 2000


async def test_a_failed_attempt_leaves_nothing_behind() -> None:
    """Emits and table writes of an attempt that raised are gone; those of the one that returned are there once."""

    @function(on=Order, emits=[Receipt], name="second-time", tables=["seen"])
    async def second_time(order: Order, ctx: Context) -> None:
        seen = ctx.table("seen")
        seen.put(str(order.number), await seen.get(str(order.number), 0) + 1)
        ctx.emit(Receipt(number=order.number, text=f"attempt {ctx.attempt}"))
        if ctx.attempt == 1:
            raise ValueError("only once")

    async with Harness(second_time) as harness:
        await harness.publish(*(Order(number=n) for n in range(20)))
        await harness.until_idle()
        assert {receipt.text for receipt in await harness.emitted(Receipt)} == {"attempt 2"}
        assert len(await harness.emitted(Receipt)) == 20
        assert await harness.table(second_time, "seen") == {str(n): 1 for n in range(20)}
