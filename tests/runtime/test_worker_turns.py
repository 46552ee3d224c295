"""Functions of one process that have much to read take turns: what one fetched is begun before another one fetches."""

from __future__ import annotations

import itertools

import pytest
from tests.support import waiting

from sixfold import Context, Event, function
from sixfold.bus import TopicSpec
from sixfold.function import AnyFunction
from sixfold.testing import Harness
from sixfold.worker.fetching import Fetcher

RECORDS = 1_000
ONE = [TopicSpec(name="turns.items", partitions=1)]


class Item(Event, topic="turns.items", key="number"):
    number: int


async def test_what_one_function_fetched_is_begun_before_another_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five functions read as many records as ten fetches hold: no two fetch without a record handled between."""
    log: list[tuple[str, str]] = []
    fetch = Fetcher._fetch

    async def noted(self: Fetcher, wait_s: float) -> bool:
        more = await fetch(self, wait_s)
        if more and not wait_s:
            log.append(("fetched", self._function))
        return more

    def counting(name: str) -> AnyFunction:
        @function(on=Item, name=name)
        async def handler(item: Item, ctx: Context) -> None:
            log.append(("handled", name))

        return handler

    monkeypatch.setattr(Fetcher, "_fetch", noted)
    names = [f"turns.{letter}" for letter in "abcde"]
    async with Harness(*map(counting, names), topics=ONE) as harness:
        await harness.publish(*(Item(number=number) for number in range(RECORDS)))
        await harness.until_idle()
    assert log.count(("handled", names[0])) == RECORDS
    steps = [step for step, _ in itertools.groupby(log)]
    fetches = [at for at, (what, _) in enumerate(steps) if what == "fetched"]
    assert len(fetches) > len(names)
    for at, then in itertools.pairwise(fetches):
        assert ("handled", steps[at][1]) in steps[at:then]


async def test_a_function_that_waits_for_its_handler_keeps_nobody_from_fetching() -> None:
    """One whose first handler never returns has its turn, and the other reads on."""
    handled = 0

    @function(on=Item, name="turns.stuck", timeout_s=600)
    async def stuck(item: Item, ctx: Context) -> None:
        await ctx.clock.sleep(500)

    @function(on=Item, name="turns.free")
    async def free(item: Item, ctx: Context) -> None:
        nonlocal handled
        handled += 1

    async with Harness(stuck, free, topics=ONE) as harness:
        await harness.publish(*(Item(number=number) for number in range(RECORDS)))
        await waiting.eventually(lambda: handled == RECORDS, "the other function handled all")
