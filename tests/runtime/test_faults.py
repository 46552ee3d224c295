"""What the bus and the worker promise holds under every seeded fault at once."""

from __future__ import annotations

import collections
from typing import Any

import pytest

from sixfold import Batch, BatchContext, Context, Event, Function, Retry, TemporaryError, function
from sixfold.errors import UsageError
from sixfold.faults import Met
from sixfold.testing import Faults, Harness

KEYS = 7
EVENTS = 120


class Step(Event, topic="faults.step", key="who"):
    who: str
    number: int


class Seen(Event, topic="faults.seen", key="who"):
    who: str
    number: int


class Echoed(Event, topic="faults.echoed", key="who"):
    who: str
    number: int


RETRY = Retry(attempts_max=100, backoff_s=0.1)


def single() -> Function[..., Any]:
    """Counts, emits, and fails now and then."""

    @function(on=Step, emits=[Seen], name="single", tables=["counts"], delivery="effectively-once", retry=RETRY)
    async def handler(event: Step, ctx: Context) -> None:
        if event.number % 31 == 30 and ctx.attempt == 1:
            raise TemporaryError("not yet")
        table = ctx.table("counts")
        table.put(event.who, [*await table.get(event.who, []), event.number])
        ctx.emit(Seen(who=event.who, number=event.number))

    return handler


def batched() -> Function[..., Any]:
    """The same in batches."""

    @function(
        on=Step,
        emits=[Seen],
        name="batched",
        tables=["counts"],
        delivery="effectively-once",
        retry=RETRY,
        batch=Batch(size=8, window_s=0.1),
    )
    async def handler(events: list[Step], ctx: BatchContext) -> None:
        for index, event in enumerate(events):
            table = ctx[index].table("counts")
            table.put(event.who, [*await table.get(event.who, []), event.number])
            ctx[index].emit(Seen(who=event.who, number=event.number))

    return handler


@function(on=Seen, emits=[Echoed], ordering="key", concurrency=4, retry=RETRY)
async def echo(event: Seen, ctx: Context) -> None:
    """The next link of the chain: keys side by side."""
    ctx.emit(Echoed(who=event.who, number=event.number))


async def go(faults: Faults, first: Function[..., Any]) -> tuple[list[Seen], list[Echoed], dict[str, Any], set[Met]]:
    """What a chain made of events of several keys, published in portions."""
    async with Harness(first, echo, faults=faults) as harness:
        for start in range(0, EVENTS, 30):
            await harness.publish(*(Step(who=f"k{n % KEYS}", number=n) for n in range(start, start + 30)))
            await harness.until_idle()
        rows = await harness.table(first, "counts")
        assert await harness.dead_letters(first) == []
        return await harness.emitted(Seen), await harness.emitted(Echoed), rows, harness.chaos.met


@pytest.mark.parametrize("make", [single, batched])
@pytest.mark.parametrize("seed", range(4))
async def test_tables_and_outputs_are_made_once_and_in_order_under_all_faults(seed: int, make: Any) -> None:
    """Events that come twice are passed over, crashes and rebalances repeat nothing, each key's order is kept."""
    faults = Faults(seed=seed, duplicate=0.1, crash_before_commit=0.05, rebalance=0.02, slow_handler=0.05)
    seen, echoed, rows, met = await go(faults, make())
    expected = {f"k{key}": [n for n in range(EVENTS) if n % KEYS == key] for key in range(KEYS)}
    for made in (seen, echoed):
        by_key = collections.defaultdict(list)
        for each in made:
            by_key[each.who].append(each.number)
        assert by_key == expected
    assert rows == expected
    kinds = {kind for kind, *_ in met}
    assert kinds == {"duplicate", "crash_before_commit", "rebalance", "slow_handler"}, "each fault happened"


async def test_a_seed_meets_the_same_faults_again() -> None:
    """However the tasks interleave; another seed meets others."""
    faults = [
        Faults(seed=seed, duplicate=0.1, crash_before_commit=0.05, rebalance=0.02, slow_handler=0.05)
        for seed in (7, 7, 8)
    ]
    first, again, other = [
        {each for each in (await go(one, single()))[3] if each[1] in ("", "single")} for one in faults
    ]
    assert first == again
    assert first != other


async def test_without_dedupe_an_event_that_comes_twice_is_handled_twice() -> None:
    """The fault is real: the log holds it twice, under one event id."""

    @function(on=Step, emits=[Seen], name="plain")
    async def plain(event: Step, ctx: Context) -> None:
        ctx.emit(Seen(who=event.who, number=event.number))

    async with Harness(plain, faults=Faults(duplicate=1.0)) as harness:
        await harness.publish(Step(who="a", number=1))
        await harness.until_idle()
        first, second = await harness.records("faults.step")
        assert dict(first.headers)["ce_id"] == dict(second.headers)["ce_id"]
        assert len(await harness.emitted(Seen)) == 2


async def test_a_crash_before_the_commit_hands_the_record_out_again_and_settles_nothing_before() -> None:
    """The handler runs twice, in two workers; the output is there once."""
    calls: list[int] = []

    @function(on=Step, emits=[Seen], name="crashing")
    async def crashing(event: Step, ctx: Context) -> None:
        calls.append(event.number)
        ctx.emit(Seen(who=event.who, number=event.number))

    async with Harness(crashing, faults=Faults(crash_before_commit=1.0)) as harness:
        await harness.publish(Step(who="a", number=1))
        await harness.until_idle()
        assert calls == [1, 1]
        assert await harness.emitted(Seen) == [Seen(who="a", number=1)]


async def test_a_slow_handler_lets_the_clock_pass() -> None:
    """By up to `slow_s`, before the handler goes on."""
    times: list[float] = []

    @function(on=Step, name="slow")
    async def slow(event: Step, ctx: Context) -> None:
        times.append(ctx.clock.monotonic())

    async with Harness(slow, faults=Faults(slow_handler=1.0, slow_s=50)) as harness:
        await harness.publish(Step(who="a", number=1))
        await harness.until_idle()
    assert 0 < times[0] <= 50


def test_a_share_is_between_0_and_1() -> None:
    """The message names it."""
    with pytest.raises(UsageError, match=r"rebalance=2, expected a share from 0 to 1"):
        Faults(rebalance=2)
