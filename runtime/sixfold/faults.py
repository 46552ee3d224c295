"""Seeded faults for `sixfold.testing.Harness`: what a function must stand on a real bus, in a test, again and again::

    async with Harness(accept, faults=Faults(seed=7, duplicate=0.1, crash_before_commit=0.05)) as harness:
        ...

Each fault is drawn from the seed and the place of its record, never from the order of calls: so the same events meet
the same faults however tasks interleave, and a seed that failed fails again. `Chaos.met` says which were met.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.context import Context
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.worker.batch_context import BatchContext
from sixfold.worker.limits import Limits
from sixfold.worker.member import Worker

TURNS_MAX = 50
"""Turns of the event loop that others get while a slow handler waits."""
VISIT_S = 0.05
"""A second worker leaves after it handled a record, or was there for so long, in real time."""
JOIN_S = 5.0
POLL_S = 0.002

Met = tuple[str, str, str, int, int]
"""Kind, function (empty for `duplicate`), topic, and partition and offset, or 0 and the record's number."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often each fault happens, as shares from 0 to 1. Raises UsageError for others."""

    seed: int = 0
    duplicate: float = 0.0
    """Of records that are published from outside: stored twice, with one event id, as by a producer that tries again."""
    crash_before_commit: float = 0.0
    """Of records: just before the settle that covers one, its worker is gone; nothing is settled, handlers are cut off."""
    rebalance: float = 0.0
    """Of records: when one is fetched a second worker joins, takes partitions over, and leaves again."""
    slow_handler: float = 0.0
    """Of records: others go first, then up to `slow_s` pass before the handler goes on. Async handlers only."""
    slow_s: float = 5.0
    """On the harness's clock; a handler's `timeout_s` may pass meanwhile."""

    def __post_init__(self) -> None:
        for name in ("duplicate", "crash_before_commit", "rebalance", "slow_handler"):
            if not 0 <= getattr(self, name) <= 1:
                raise errors.UsageError(f"Faults: {name}={getattr(self, name)!r}, expected a share from 0 to 1")

    def draw(self, kind: str, *place: object) -> random.Random | None:
        """Randomness for the fault `kind` at `place`, the same in every run; None where there is none."""
        drawn = random.Random(f"{self.seed}/{kind}/{'/'.join(map(str, place))}")  # noqa: S311 (it must be repeatable)
        return drawn if drawn.random() < getattr(self, kind) else None


class InjectedCrashError(port.BusError):
    """A worker was killed on purpose: to it, the bus is gone for good."""


class Chaos:
    """The faults of one harness."""

    def __init__(self, faults: Faults, bus: port.Bus, clock: clocks.Clock) -> None:
        self.bus = cast("port.Bus", _Bus(bus, self))
        """The bus as the functions see it."""
        self.met: set[Met] = set()
        """Every fault that happened."""
        self._faults = faults
        self._clock = clock
        self._stored = 0
        self._wanted: list[AnyFunction] = []
        self._visiting: asyncio.Task[None] | None = None
        self._visit: Callable[[AnyFunction], Worker] | None = None
        self._functions: dict[str, AnyFunction] = {}

    def prepare(
        self, functions: Sequence[AnyFunction], process: Process, limits: Limits, on_change: Callable[[], None]
    ) -> list[AnyFunction]:
        """`functions` with handlers that may be slow; second workers are made of them, in `process`."""
        prepared = [self._slow(each) if inspect.iscoroutinefunction(each.handler) else each for each in functions]
        self._functions = {each.name: each for each in prepared}
        self._visit = lambda function: Worker(function, process, limits=limits, on_change=on_change)
        return prepared

    @property
    def visiting(self) -> bool:
        """Whether a second worker is there, or on its way."""
        return bool(self._wanted) or (self._visiting is not None and not self._visiting.done())

    async def close(self) -> None:
        """Send second workers away."""
        self._wanted.clear()
        if self._visiting is not None:
            await self._visiting

    def copies(self, records: Sequence[port.NewRecord]) -> list[port.NewRecord]:
        """Those of `records` that are stored once more."""
        found = []
        for record in records:
            self._stored += 1
            if self._happens("duplicate", "", record.topic, 0, self._stored) is not None:
                found.append(record)
        return found

    def fetched(self, group: str, records: Sequence[port.Record]) -> None:
        """A worker of `group` was given these."""
        for record in records:
            if self._happens("rebalance", group, record.topic, record.partition, record.offset) is not None:
                self._wanted.append(self._functions[group])
        if self._wanted and (self._visiting is None or self._visiting.done()):
            self._visiting = asyncio.create_task(self._visits(), name="second workers")

    def settles(self, group: str, records: Sequence[tuple[port.TopicPartition, int]]) -> None:
        """A worker of `group` is about to settle these. Raises InjectedCrashError."""
        for (topic, partition), offset in records:
            if self._happens("crash_before_commit", group, topic, partition, offset) is not None:
                raise InjectedCrashError(f"{group} was killed before it settled {topic}:{partition}:{offset}")

    def _happens(self, kind: str, group: str, topic: str, partition: int, offset: int) -> random.Random | None:
        """Each fault happens once: else a record would never get past it."""
        met = (kind, group, topic, partition, offset)
        drawn = None if met in self.met else self._faults.draw(*met)
        if drawn is not None:
            self.met.add(met)
        return drawn

    async def _visits(self) -> None:
        while self._wanted:
            assert self._visit is not None
            worker, stopping = self._visit(self._wanted.pop(0)), asyncio.Event()
            working = asyncio.create_task(worker.run(stopping), name=f"{worker.function.name} second worker")
            await _until(lambda: working.done() or bool(worker.backlog()), JOIN_S)  # noqa: B023 (used at once)
            await _until(lambda: working.done() or worker.counters.records > 0, VISIT_S)  # noqa: B023
            stopping.set()
            with contextlib.suppress(
                errors.SixfoldError
            ):  # killed, or the function's bug, which the first one meets too
                await working

    def _slow(self, function: AnyFunction) -> AnyFunction:
        handler = function.handler

        @functools.wraps(handler)
        async def slow(event: Any, ctx: Context | BatchContext) -> Any:
            for record in ctx.records if isinstance(ctx, BatchContext) else [ctx.record]:
                place = function.name, record.topic, record.partition, record.offset
                drawn = self._happens("slow_handler", *place)
                if drawn is not None:
                    await self._pass(drawn)
            return await handler(event, ctx)

        return dataclasses.replace(function, handler=slow)

    async def _pass(self, drawn: random.Random) -> None:
        for _ in range(drawn.randint(1, TURNS_MAX)):
            await asyncio.sleep(0)
        seconds = drawn.uniform(0, self._faults.slow_s)
        advance = getattr(self._clock, "advance", None)
        if advance is None:
            await self._clock.sleep(seconds)
        else:
            advance(seconds)


class _Bus:
    """A bus whose group members meet faults, and on which publishers store twice."""

    def __init__(self, bus: port.Bus, chaos: Chaos) -> None:
        self._bus = bus
        self._chaos = chaos

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        positions = await self._bus.publish(records)
        copies = self._chaos.copies(records)
        if copies:
            await self._bus.publish(copies)
        return positions

    def subscribe(self, group: str, topics: Sequence[str], **options: Any) -> port.Consumer:
        return cast("port.Consumer", _Member(self._bus.subscribe(group, topics, **options), group, self._chaos))


class _Member:
    def __init__(self, consumer: port.Consumer, group: str, chaos: Chaos) -> None:
        self._consumer = consumer
        self._group = group
        self._chaos = chaos
        self._given: dict[port.TopicPartition, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    async def __aenter__(self) -> Self:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.__aexit__(kind, error, trace)

    async def fetch(self, **options: Any) -> dict[port.TopicPartition, list[port.Record]]:
        found = await self._consumer.fetch(**options)
        for partition, records in found.items():
            self._given.setdefault(partition, []).extend(record.offset for record in records)
            self._chaos.fetched(self._group, records)
        return found

    async def settle(self, **what: Any) -> None:
        done = []
        for partition, end in (what.get("offsets") or {}).items():
            given = self._given.get(partition, [])
            done += [(partition, offset) for offset in given if offset < end]
        self._chaos.settles(self._group, done)
        await self._consumer.settle(**what)
        for partition, end in (what.get("offsets") or {}).items():
            self._given[partition] = [offset for offset in self._given.get(partition, []) if offset >= end]


async def _until(check: Callable[[], bool], within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not check():  # noqa: ASYNC110 (a worker tells nobody that it was given partitions)
                await asyncio.sleep(POLL_S)
