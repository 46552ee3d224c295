"""The harness runs functions on a real embedded bus and says when nothing is left to do."""

from __future__ import annotations

import pytest
from tests.support.waiting import eventually

from sixfold import Context, Event, PermanentError, Retry, TemporaryError, function
from sixfold.bus import TopicSpec
from sixfold.context import UndeclaredEmitError
from sixfold.testing import Harness


class Asked(Event, topic="harness.asked", key="who"):
    who: str
    number: int = 0


class Answered(Event, topic="harness.answered", key="who"):
    who: str


class Echoed(Event, topic="harness.echoed", key="who"):
    who: str


@function(on=Asked, emits=[Answered])
async def answer(event: Asked, ctx: Context) -> None:
    ctx.emit(Answered(who=event.who))


@function(on=Answered, emits=[Echoed])
async def echo(event: Answered, ctx: Context) -> None:
    ctx.emit(Echoed(who=event.who))


async def test_a_chain_of_functions_runs_until_nothing_is_left() -> None:
    """What one function emits, the next one has handled when `until_idle` returns."""
    async with Harness(answer, echo) as harness:
        await harness.publish(*(Asked(who=str(n)) for n in range(50)))
        await harness.until_idle()
        assert {event.who for event in await harness.emitted(Echoed)} == {str(n) for n in range(50)}


async def test_retries_take_no_time_and_end_in_the_dead_letter_topic() -> None:
    """The clock moves to each retry; after the last attempt the record is parked as it was."""
    attempts: list[tuple[int, float]] = []

    @function(on=Asked, name="failing", retry=Retry(attempts_max=4, backoff_s=100, backoff_max_s=1000, jitter=0))
    async def failing(event: Asked, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.clock.monotonic()))
        raise TemporaryError("not yet")

    async with Harness(failing) as harness:
        await harness.publish(Asked(who="a"))
        await harness.until_idle()
        assert attempts == [(1, 0), (2, 100), (3, 300), (4, 700)]
        (letter,) = await harness.dead_letters(failing)
        assert (letter.topic, letter.offset, letter.attempts, letter.error_message) == (
            "harness.asked",
            0,
            4,
            "not yet",
        )


async def test_a_handler_that_emits_what_it_did_not_declare_stops_its_function_and_loses_nothing() -> None:
    """Bad code stops and says so: the record is neither parked nor passed."""

    @function(on=Asked, name="undeclared")
    async def undeclared(event: Asked, ctx: Context) -> None:
        ctx.emit(Answered(who=event.who))

    async with Harness(undeclared, events=[Answered]) as harness:
        await harness.publish(Asked(who="a"))
        with pytest.raises(UndeclaredEmitError, match="add it to emits="):
            await harness.until_idle()
        assert await harness.dead_letters(undeclared) == []
        assert sum((await harness.bus.lag("undeclared", ["harness.asked"])).values()) == 1


async def test_tables_are_folds_with_the_writes_of_the_same_batch_seen() -> None:
    """The second record of a batch sees what the first one wrote, before anything is settled."""

    @function(on=Asked, name="counting", tables=["count"])
    async def counting(event: Asked, ctx: Context) -> None:
        table = ctx.table("count")
        table.put(event.who, await table.get(event.who, 0) + event.number)

    async with Harness(counting) as harness:
        await harness.publish(*(Asked(who=f"k{n % 7}", number=n) for n in range(300)))
        await harness.until_idle()
        assert await harness.table(counting, "count") == {
            f"k{k}": sum(n for n in range(300) if n % 7 == k) for k in range(7)
        }


async def test_a_permanent_error_parks_at_once_and_the_next_record_goes_on() -> None:
    """One bad event costs one attempt and holds nobody up."""
    seen: list[int] = []

    @function(on=Asked, name="picky")
    async def picky(event: Asked, ctx: Context) -> None:
        seen.append(event.number)
        if event.number == 1:
            raise PermanentError("never")

    async with Harness(picky) as harness:
        await harness.publish(*(Asked(who="a", number=n) for n in range(3)))
        await harness.until_idle()
        assert seen == [0, 1, 2]
        (letter,) = await harness.dead_letters(picky)
        assert letter.attempts == 1
        assert letter.error_type == "sixfold.errors.PermanentError"
        assert "raise PermanentError" in letter.error_stack


async def test_retention_follows_the_harness_clock() -> None:
    """Records are stamped and aged by one clock: a test set in 2014 keeps its records, and may outlive them."""
    spec = TopicSpec(name="harness.asked", retention_ms=60_000)
    async with Harness(answer, topics=[spec]) as harness:
        await harness.publish(Asked(who="a"))
        await harness.until_idle()
        assert len(await harness.records("harness.asked")) == 1
        await harness.advance(3600)

        async def gone() -> bool:
            return not await harness.records("harness.asked")

        await eventually(gone, "the record is dropped an hour later")
        assert len(await harness.emitted(Answered)) == 1
