"""A view that is called fresh holds all that was published. The bus is real; how slowly it answers is made up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sixfold import Event
from sixfold.bus import BusUnavailableError, Cleanup, Consumer, TopicSpec
from sixfold.follower import Follower
from sixfold.process import Process
from sixfold.testing import Harness


class Allowed(Event, topic="follower.state", key="name"):
    name: str
    actions: str


class SlowConsumer:
    """A real consumer whose next fetches get nothing in time."""

    def __init__(self, consumer: Consumer, bus: SlowBus) -> None:
        self._consumer = consumer
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> SlowConsumer:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._consumer.__aexit__(*details)

    async def fetch(self, **options: Any) -> Any:
        if self._bus.empty_fetches > 0:
            self._bus.empty_fetches -= 1
            return {}
        return await self._consumer.fetch(**options)


class SlowBus:
    """A real bus with such consumers."""

    def __init__(self, harness: Harness) -> None:
        self._bus = harness.bus
        self.empty_fetches = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def assign(self, *arguments: Any, **options: Any) -> SlowConsumer:
        return SlowConsumer(self._bus.assign(*arguments, **options), self)


class Following:
    """A follower over a slow bus and what it knows."""

    def __init__(self, harness: Harness, bus: SlowBus) -> None:
        self.bus = bus
        self.known: dict[str, str] = {}
        process = Process(name="p", data_dir=harness.data_dir, registry=harness.process.registry, bus=bus)
        self.follower = Follower(process, Allowed.__event__.topic, self._apply, stalled_s=0.05)

    def _apply(self, event: Event) -> None:
        assert isinstance(event, Allowed)
        self.known[event.name] = event.actions


@contextlib.asynccontextmanager
async def following() -> AsyncIterator[tuple[Harness, Following]]:
    spec = TopicSpec(name=Allowed.__event__.topic, partitions=1, cleanup=Cleanup.COMPACT, retention_ms=None)
    async with Harness(events=[Allowed], topics=[spec]) as harness:
        found = Following(harness, SlowBus(harness))
        yield harness, found
        await found.follower.close()


async def test_a_first_fetch_that_gets_nothing_in_time_is_not_the_end() -> None:
    """All that was published is known when catch_up returns, however slowly the bus begins."""
    async with following() as (harness, found):
        await harness.publish(Allowed(name="reader", actions="*"))
        found.bus.empty_fetches = 3
        await found.follower.catch_up()
        assert found.known == {"reader": "*"}


async def test_a_narrowed_role_is_not_missed_while_the_bus_stalls() -> None:
    """What was published last is applied before the view counts as fresh, not when another record arrives."""
    async with following() as (harness, found):
        await harness.publish(Allowed(name="reader", actions="*"))
        await found.follower.catch_up()
        await harness.publish(Allowed(name="reader", actions="kms:Decrypt"))
        found.bus.empty_fetches = 3
        await found.follower.catch_up()
        assert found.known == {"reader": "kms:Decrypt"}


async def test_a_bus_that_gives_no_more_is_an_error_and_the_view_is_not_fresh() -> None:
    """BusUnavailableError after the deadline, again at the next call however old a view it would take; then all comes."""
    async with following() as (harness, found):
        await harness.publish(Allowed(name="reader", actions="*"))
        found.bus.empty_fetches = 10**9
        for _ in range(2):
            with pytest.raises(BusUnavailableError, match=r"follower\.state:0 at 0 of 1"):
                await found.follower.catch_up(age_s_max=1e9)
        found.bus.empty_fetches = 0
        await found.follower.catch_up(age_s_max=1e9)
        assert found.known == {"reader": "*"}
