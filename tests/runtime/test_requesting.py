"""Request and reply: a client asks over the log, a function answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sixfold import App, Batch, BatchContext, Context, Event, PermanentError, Retry, TemporaryError, function
from sixfold.context import UndeclaredEmitError
from sixfold.requesting import Client, RequestFailedError, RequestTimeoutError
from sixfold.testing import Harness
from sixfold_events.system import RequestFailed


class Question(Event, topic="requests.questions", key="number"):
    number: int


class Answer(Event, topic="requests.answers", key="number"):
    number: int
    asked: int


@function(on=Question, answers=Answer, retry=Retry(attempts_max=3, backoff_s=0.001), ordering="key", concurrency=4)
async def double(question: Question, ctx: Context) -> Answer | None:
    """Answer with twice the number."""
    if question.number < 0:
        raise PermanentError("a negative number")
    if question.number == 3 and ctx.attempt < 3:
        raise TemporaryError("not yet")
    if question.number == 13:
        return None
    return Answer(number=question.number * 2, asked=question.number)


async def test_each_who_asks_gets_the_answer_to_its_own_question() -> None:
    """Many at once, by several clients; a retry answers once; nobody's answer goes to another."""
    async with Harness(double, events=[RequestFailed]) as harness:
        async with (
            Client(harness.bus, harness.process.registry) as one,
            Client(harness.bus, harness.process.registry) as two,
        ):
            asking = [client.request(Question(number=n), timeout_s=20) for n in range(12) for client in (one, two)]

            async def move() -> None:
                while True:
                    await harness.until_idle()

            moving = asyncio.create_task(move())
            replies = await asyncio.gather(*asking)
            moving.cancel()
            assert [reply.number for reply in replies if isinstance(reply, Answer)] == [
                n * 2 for n in range(12) for _ in (one, two)
            ]
        assert await harness.emitted(Answer) == [], "answers go to whoever asked, not to the type's own topic"


async def test_a_request_that_is_parked_fails_at_once_and_one_without_an_answer_in_time() -> None:
    """The errors say what happened and what may still happen."""
    async with (
        Harness(double, events=[RequestFailed]) as harness,
        Client(harness.bus, harness.process.registry) as client,
    ):
        with pytest.raises(RequestFailedError, match="double could not handle it: PermanentError: a negative number"):
            await client.request(Question(number=-1), timeout_s=20)
        with pytest.raises(RequestTimeoutError, match="may be handled all the same"):
            await client.request(Question(number=13), timeout_s=0.3)
        assert len(await harness.dead_letters(double)) == 1


async def test_where_nobody_asked_what_is_returned_is_dropped() -> None:
    """A plain event is handled as ever."""
    async with Harness(double, events=[RequestFailed]) as harness:
        await harness.publish(Question(number=1))
        await harness.until_idle()
        assert await harness.records("system.replies") == []
        assert await harness.dead_letters(double) == []


async def test_an_answer_that_is_not_declared_stops_the_function() -> None:
    """As an emit does."""

    @function(on=Question, answers=[Question])
    async def wrong(question: Question, ctx: Context) -> Answer:
        return Answer(number=1, asked=1)

    async with Harness(wrong, events=[RequestFailed, Answer]) as harness:
        await harness.publish(Question(number=1))
        with pytest.raises(UndeclaredEmitError, match="add it to answers="):
            await harness.until_idle()


async def test_batches_answer_record_by_record() -> None:
    """Through each record's own context."""

    @function(on=Question, answers=Answer, batch=Batch(size=10, window_s=0))
    async def many(questions: list[Question], ctx: BatchContext) -> None:
        for index, question in enumerate(questions):
            ctx[index].answer(Answer(number=-question.number, asked=question.number))

    async with (
        Harness(many, events=[RequestFailed]) as harness,
        Client(harness.bus, harness.process.registry) as client,
    ):
        replies = await asyncio.gather(*(client.request(Question(number=n), timeout_s=20) for n in range(5)))
        assert [reply.number for reply in replies if isinstance(reply, Answer)] == [0, -1, -2, -3, -4]


async def test_an_app_gives_its_own_client(tmp_path: Path) -> None:
    """It knows the app's types and opens the bus by itself, beside the process that runs the functions."""
    app = App("doubling", functions=(double,))
    async with Harness(double, events=[RequestFailed], data_dir=tmp_path) as harness:
        async with app.client(data_dir=tmp_path) as client:
            assert await client.request(Question(number=21), timeout_s=20) == Answer(number=42, asked=21)
            await client.publish(Question(number=1))
        await harness.until_idle()
