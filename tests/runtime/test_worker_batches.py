"""Batch handlers: how batches are cut, and what becomes of their records when some or all of them fail."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold import (
    Batch,
    BatchContext,
    Event,
    PermanentError,
    Retry,
    TemporaryError,
    function,
)
from sixfold.bus import NewRecord, TopicSpec
from sixfold.errors import FunctionBugError
from sixfold.function import AnyFunction, FunctionDefinitionError, Ordering
from sixfold.testing import Harness, ManualClock

ONE = [TopicSpec(name="batches.items", partitions=1)]
QUICK = Retry(attempts_max=3, backoff_s=0.1, jitter=0)


class Item(Event, topic="batches.items", key="group"):
    number: int
    group: str = "g"


class Made(Event, topic="batches.made", key="number"):
    number: int


async def run(harness: Harness, *items: Item) -> None:
    """Publish `items`, as one call, and wait until all is done."""
    await harness.publish(*items)
    await harness.until_idle()


def numbers(count: int) -> list[Item]:
    return [Item(number=number) for number in range(count)]


async def test_a_batch_is_cut_at_its_size_and_the_rest_comes_when_the_window_ends() -> None:
    """Ten records and a size of four: four, four, and two after the window."""
    seen: list[tuple[float, list[int]]] = []

    @function(on=Item, batch=Batch(size=4, window_s=5))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        seen.append((ctx.clock.monotonic(), [item.number for item in items]))
        assert [record.offset for record in ctx.records] == [item.number for item in items]

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *numbers(10))
    assert seen == [(0, [0, 1, 2, 3]), (0, [4, 5, 6, 7]), (5, [8, 9])]


async def test_a_batch_is_cut_at_its_bytes_too_and_a_larger_record_goes_alone() -> None:
    """`bytes_max` counts keys, values and headers; a record above it is a batch of its own."""
    seen: list[int] = []

    @function(on=Item, batch=Batch(size=100, window_s=1, bytes_max=3000))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        seen.append(len(items))

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *(Item(number=n, group="x" * 400) for n in range(10)), Item(number=10, group="x" * 5000))
    assert sum(seen) == 11
    assert max(seen) < 5
    assert seen[-1] == 1


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
async def test_a_plain_handler_and_every_ordering_take_batches(ordering: Ordering) -> None:
    """All records are handled once; within a key in order, unless order was waived."""
    seen: list[Item] = []

    @function(on=Item, emits=[Made], ordering=ordering, concurrency=3, batch=Batch(size=7, window_s=0.1))
    def take(items: list[Item], ctx: BatchContext) -> None:
        seen.extend(items)
        for index, item in enumerate(items):
            ctx[index].emit(Made(number=item.number))

    async with Harness(take) as harness:
        await run(harness, *(Item(number=n, group=f"g{n % 5}") for n in range(100)))
        assert sorted(made.number for made in await harness.emitted(Made)) == list(range(100))
    assert len(seen) == 100
    if ordering != "none":
        for group in {item.group for item in seen}:
            ordered = [item.number for item in seen if item.group == group]
            assert ordered == sorted(ordered)


async def test_a_batch_that_fails_is_tried_again_whole_and_parked_after_its_attempts() -> None:
    """The same records, in their order; each dead letter says how many attempts there were."""
    seen: list[list[int]] = []

    @function(on=Item, retry=QUICK, batch=Batch(size=3, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        seen.append([item.number for item in items])
        assert ctx.attempt == len(seen) or items[0].number == 3
        if items[0].number == 0:
            raise TemporaryError("not now")

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *numbers(6))
        letters = await harness.dead_letters(take)
        assert [(letter.offset, letter.attempts) for letter in letters] == [(0, 3), (1, 3), (2, 3)]
        assert seen == [[0, 1, 2]] * 3 + [[3, 4, 5]]


async def test_bisecting_finds_the_one_record_that_spoils_its_batch() -> None:
    """Halves are tried apart, without spending attempts; the bad record alone is parked, all others are done once."""
    good: Counter[int] = Counter()

    @function(on=Item, emits=[Made], retry=QUICK, batch=Batch(size=16, window_s=0, bisect=True))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        if any(item.number == 11 for item in items):
            raise ValueError("eleven")
        for index, item in enumerate(items):
            good[item.number] += 1
            ctx[index].emit(Made(number=item.number))

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *numbers(16))
        (letter,) = await harness.dead_letters(take)
        assert (letter.offset, letter.attempts) == (11, 3)
        expected = [number for number in range(16) if number != 11]
        assert [made.number for made in sorted(await harness.emitted(Made), key=lambda made: made.number)] == expected
    assert set(good.values()) == {1}


async def test_only_what_failed_and_what_must_stay_behind_it_is_tried_again() -> None:
    """With order by key the rest of the failed record's key waits with it; other keys are done."""
    calls: list[list[int]] = []

    @function(on=Item, emits=[Made], ordering="key", retry=QUICK, batch=Batch(size=6, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        calls.append([item.number for item in items])
        for index, item in enumerate(items):
            ctx[index].emit(Made(number=item.number))
        if ctx.attempt == 1:
            ctx.fail(2, TemporaryError("once"))

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *(Item(number=n, group=f"g{n % 2}") for n in range(6)))
        assert calls == [[0, 1, 2, 3, 4, 5], [2, 4]]
        made = Counter(made.number for made in await harness.emitted(Made))
    assert made == Counter(range(6))


async def test_with_order_by_partition_the_rest_of_the_batch_waits_behind_a_failure() -> None:
    """As Lambda does for streams: again from the first failure on. A negative index counts from the end."""
    calls: list[list[int]] = []

    @function(on=Item, retry=QUICK, batch=Batch(size=5, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        calls.append([item.number for item in items])
        if ctx.attempt == 1 and items[0].number == 0:
            ctx.fail(-3, TemporaryError("once"))

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *numbers(7))
    assert calls == [[0, 1, 2, 3, 4], [2, 3, 4], [5, 6]]


async def test_a_record_that_fails_for_good_is_parked_and_holds_nothing_up() -> None:
    """PermanentError for one record: a dead letter, and those behind it are done in the same call."""
    calls: list[int] = []

    @function(on=Item, retry=QUICK, batch=Batch(size=5, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        calls.append(len(items))
        ctx.fail(1, PermanentError("never"))

    async with Harness(take, topics=ONE) as harness:
        await run(harness, *numbers(5))
        (letter,) = await harness.dead_letters(take)
        assert (letter.offset, letter.attempts, letter.error_message) == (1, 1, "never")
    assert calls == [5]


async def test_rubbish_in_a_batch_is_parked_and_the_rest_is_handled() -> None:
    """A record that is no event never reaches the handler and spoils nothing."""
    seen: list[int] = []

    @function(on=Item, batch=Batch(size=10, window_s=1))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        seen.extend(item.number for item in items)
        assert len(items) == len(ctx) == len(list(ctx))

    async with Harness(take, topics=ONE) as harness:
        await harness.publish(Item(number=0))
        await harness.publish_records(NewRecord("batches.items", b"rubbish", headers=[("ce_type", b"item")]))
        await harness.publish_records(NewRecord("batches.items", None, key=b"tombstone"))
        await run(harness, Item(number=3))
        (letter,) = await harness.dead_letters(take)
        assert letter.value == b"rubbish"
    assert seen == [0, 3]


async def test_rows_are_seen_within_a_batch_and_stored_for_the_records_that_are_done() -> None:
    """Each record of a batch sees what those before it wrote; what a failed one wrote is dropped and made again."""

    @function(on=Item, tables=["sums"], retry=QUICK, batch=Batch(size=4, window_s=0))
    async def add(items: list[Item], ctx: BatchContext) -> None:
        for index, item in enumerate(items):
            table = ctx[index].table("sums")
            table.put("sum", await table.get("sum", 0) + item.number)
            assert dict(await table.items())["sum"] == await table.get("sum")
        if ctx.attempt == 1 and items[0].number == 4:
            ctx.fail(2, TemporaryError("once"))

    async with Harness(add, topics=ONE) as harness:
        await run(harness, *numbers(10))
        assert await harness.table(add, "sums") == {"sum": sum(range(10))}


async def test_a_batch_handler_whose_code_contradicts_its_declaration_stops() -> None:
    """An emit that was not declared is no record's fault: nothing is parked, nothing passed."""

    @function(on=Item, batch=Batch(size=3, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        ctx[0].emit(Made(number=1))

    async with Harness(take, topics=ONE) as harness:
        await harness.publish(*numbers(3))
        with pytest.raises(FunctionBugError, match="declares nothing"):
            await harness.until_idle()
        assert await harness.dead_letters(take) == []


async def test_a_batch_past_its_time_limit_is_cancelled_and_tried_again() -> None:
    """The time limit is one call's, as for a single record."""
    clock = ManualClock()
    calls: list[int] = []
    begun = asyncio.Event()

    @function(on=Item, timeout_s=5, retry=QUICK, batch=Batch(size=3, window_s=0))
    async def take(items: list[Item], ctx: BatchContext) -> None:
        calls.append(len(items))
        if ctx.attempt == 1:
            begun.set()
            await asyncio.Event().wait()

    async with Harness(take, topics=ONE, clock=clock) as harness:
        await harness.publish(*numbers(3))
        await begun.wait()
        clock.advance(10.1)  # the watcher looks once in a time limit
        await harness.until_idle()
        assert calls == [3, 3]


@given(
    failing=st.dictionaries(st.integers(0, 39), st.sampled_from(["once", "twice", "always", "never good"]), max_size=8),
    size=st.integers(1, 9),
    ordering=st.sampled_from(["partition", "key", "none"]),
    bisect=st.booleans(),
    whole=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=25, deadline=None)
async def test_whatever_fails_every_record_is_done_or_parked_exactly_once(
    failing: dict[int, str], size: int, ordering: Ordering, bisect: bool, whole: bool, seed: int
) -> None:
    """Any mix of failures, as whole batches or record by record: outputs and dead letters together are all records."""
    tries: Counter[int] = Counter()

    def error_of(number: int) -> Exception | None:
        kind = failing.get(number)
        if kind == "never good":
            return PermanentError(kind)
        if kind is None or (kind == "once" and tries[number] > 1) or (kind == "twice" and tries[number] > 2):
            return None
        return TemporaryError(kind)

    @function(
        on=Item,
        emits=[Made],
        ordering=ordering,
        concurrency=2,
        retry=Retry(attempts_max=4, backoff_s=0.01),
        batch=Batch(size=size, window_s=0.01, bisect=bisect),
    )
    async def take(items: list[Item], ctx: BatchContext) -> None:
        for index, item in enumerate(items):
            tries[item.number] += 1
            if error := error_of(item.number):
                if whole:
                    raise error
                ctx.fail(index, error)
            ctx[index].emit(Made(number=item.number))

    async with Harness(take, topics=[TopicSpec(name="batches.items", partitions=3)], seed=seed) as harness:
        await run(harness, *(Item(number=n, group=f"g{n % 7}") for n in range(40)))
        made = Counter(each.number for each in await harness.emitted(Made))
        parked = Counter(await parked_numbers(harness, take))
    assert made + parked == Counter(range(40))
    if not whole:
        assert set(parked) == {number for number, kind in failing.items() if kind in ("always", "never good")}


async def parked_numbers(harness: Harness, which: AnyFunction) -> list[int]:
    """Numbers of the items that were parked."""
    events = [harness.process.registry.decode_as(Item, letter.value) for letter in await harness.dead_letters(which)]
    return [event.number for event in events if isinstance(event, Item)]


@pytest.mark.parametrize("batch", [Batch(size=0), Batch(size=10_001), Batch(window_s=-1), Batch(bytes_max=0)])
def test_a_batch_that_cannot_be_is_refused_when_it_is_declared(batch: Batch) -> None:
    """The message says what is expected."""
    with pytest.raises(FunctionDefinitionError, match="expected size 1 to 10,000"):

        @function(on=Item, batch=batch)
        async def take(items: list[Item], ctx: BatchContext) -> None: ...
