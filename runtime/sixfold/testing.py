"""Testing functions: the real worker on a real embedded bus of its own, with time in the test's hand::

    async def test_an_order_is_accepted() -> None:
        async with Harness(accept) as harness:
            await harness.publish(OrderPlaced(order_id="1", amount_cents=100))
            await harness.until_idle()
            assert await harness.emitted(OrderAccepted) == [OrderAccepted(order_id="1")]

Partitions, keys, offsets, retries, dead letters and tables are what they are in production. Waits for retries take no
time: `until_idle` moves the clock to the next one. A function whose code contradicts its declaration raises there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec

from sixfold import bus as buses
from sixfold import clock as clocks
from sixfold import dead_letter, errors, publisher, running
from sixfold.bus import ends, port
from sixfold.faults import Chaos, Faults, InjectedCrashError
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.worker.limits import DEFAULT, Limits
from sixfold.worker.member import Worker
from sixfold_events import Event
from sixfold_events.registry import Registry

E = TypeVar("E", bound=Event)

__all__ = ["LIMITS", "Faults", "Harness", "InjectedCrashError", "ManualClock", "NotIdleError"]

LIMITS = dataclasses.replace(DEFAULT, linger_s=0.001, drain_s=2.0)
"""As in production, but offsets are committed almost at once."""


LOOK_S = 0.1
_ROUNDING_S = 1e-6
"""Sums of seconds are off by less than this."""


class NotIdleError(errors.SixfoldError, AssertionError):
    """Functions still had work when `until_idle` gave up; the message says which."""


class ManualClock:
    """A clock that stands still until `advance`; it begins on 12 November 2014."""

    def __init__(self, now_s: float = 1415811600.0) -> None:
        self._started_s = now_s
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._started_s + self._passed_s

    def monotonic(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._passed_s + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: whoever sleeps no longer than that wakes when the caller next awaits."""
        self._passed_s += max(0.0, seconds)
        for due_s, sleeper in self._sleepers:
            if due_s <= self._passed_s + _ROUNDING_S and not sleeper.done():
                sleeper.set_result(None)


class Harness:
    """Runs `functions` on a bus of their own, in a folder of its own unless `data_dir` names one."""

    def __init__(
        self,
        *functions: AnyFunction,
        data_dir: Path | None = None,
        clock: clocks.Clock | None = None,
        events: Iterable[type[Event]] = (),
        topics: Sequence[port.TopicSpec] = (),
        limits: Limits = LIMITS,
        seed: int = 0,
        faults: Faults | None = None,
    ) -> None:
        self.clock: clocks.Clock = clock or ManualClock()
        """A `ManualClock` unless another one was given."""
        self._folder = tempfile.TemporaryDirectory(prefix="sixfold-") if data_dir is None else None
        self.data_dir = data_dir or Path(cast("tempfile.TemporaryDirectory[str]", self._folder).name)
        classes = dict.fromkeys(
            [*events, *(cls for each in functions for cls in (*each.on, *each.emits, *each.answers))]
        )
        self._topics = {
            **{cls.__event__.topic: port.TopicSpec(name=cls.__event__.topic) for cls in classes},
            **{spec.name: spec for spec in topics},
        }
        self.bus = buses.open_bus("embedded:", data_dir=self.data_dir, clock=self.clock)
        self.chaos = Chaos(faults or Faults(), self.bus, self.clock)
        """The faults that were met."""
        met = self.bus if faults is None else self.chaos.bus
        self.process = Process(
            name="harness", data_dir=self.data_dir, registry=Registry(classes), clock=self.clock, bus=met
        )
        """What the functions' contexts refer to."""
        self._publisher = publisher.Publisher(met, source="/test", clock=self.clock)
        self._changed = asyncio.Event()
        self._changes = 0
        if faults is not None:
            functions = tuple(self.chaos.prepare(functions, self.process, limits, self._on_change))
        self._functions = functions
        self._runs = [
            running.Run(
                each,
                self.process,
                limits=limits,
                rng=random.Random(seed),  # noqa: S311
                on_change=self._on_change,
                restart_s=running.RESTART_S if faults is None else 0.0,
            )
            for each in functions
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.bus.__aenter__()
        await running.create_topics(self.bus, self._functions, self._topics.values())
        self.start()
        await asyncio.gather(*(run.started.wait() for run in self._runs if not run.function.topic_patterns))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
            await self.process.resources.close()
        finally:
            await self.bus.__aexit__(kind, error, trace)
            if self._folder is not None:
                self._folder.cleanup()

    def start(self) -> None:
        """Start the functions' workers; they run already unless `stop` was called."""
        self.process.stopping.clear()
        self._tasks = [
            asyncio.create_task(run.run(self.process.stopping), name=run.function.name) for run in self._runs
        ]

    async def stop(self) -> None:
        """Stop the functions' workers in order, as a process does that is asked to stop."""
        self.process.stopping.set()
        await self.chaos.close()
        await asyncio.gather(*self._tasks)
        self._tasks = []

    async def publish(self, *events: Event, correlation_id: str = "") -> list[port.Position]:
        """Publish `events` as somebody outside would."""
        return await self._publisher.publish(*events, correlation_id=correlation_id)

    async def publish_records(self, *records: port.NewRecord) -> list[port.Position]:
        """Publish `records` as they are: broken ones, tombstones."""
        return await self.process.require_bus().publish(records)

    async def advance(self, seconds: float) -> None:
        """Let time pass, then wait until all is done that this made due; only with a `ManualClock`."""
        assert isinstance(self.clock, ManualClock), "the harness was given a clock of its own"
        self.clock.advance(seconds)
        await self.until_idle()

    async def until_idle(self, within_s: float = 30.0) -> None:
        """Return once every record is done with, those emitted meanwhile included.

        Raises FunctionBugError where a function stopped for good, what a worker crashed with, and NotIdleError after
        `within_s` real seconds.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            self._changed.clear()
            for run in self._runs:
                if isinstance(run.crash, InjectedCrashError):
                    run.crash = None  # it was killed on purpose, and starts afresh at once
                elif (failure := run.bug or run.crash) is not None:
                    raise failure
            if not self._advanced() and await self._is_idle():
                return
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                # Workers of other processes tell us nothing, so look now and then all the same.
                await asyncio.wait_for(self._changed.wait(), min(left_s, LOOK_S))
            except TimeoutError:
                if left_s > LOOK_S:
                    continue
                raise NotIdleError(f"not idle within {within_s:g} s: {await self._describe()}") from None

    async def emitted(self, cls: type[E]) -> list[E]:
        """Every event of type `cls` in its topic, by partition and offset: those published and those emitted."""
        name = cls.__event__.type.encode()
        return [
            cast("E", self.process.registry.decode_as(cls, record.value, record.headers))
            for record in await self.records(cls.__event__.topic)
            if record.value is not None and dict(record.headers).get("ce_type") == name
        ]

    async def dead_letters(self, function: AnyFunction) -> list[dead_letter.DeadLetter]:
        """What `function` parked."""
        return [dead_letter.read(record) for record in await self.records(function.dead_letter_topic)]

    async def records(self, topic: str) -> list[port.Record]:
        """Every record of `topic`, by partition and offset."""
        partitions = [port.TopicPartition(topic, n) for n in range((await self.bus.topics())[topic].partitions)]
        found: dict[int, list[port.Record]] = {tp.partition: [] for tp in partitions}
        async with self.bus.assign(partitions) as consumer:
            async for records in ends.read_up_to(consumer, await ends.of(self.bus, partitions)):
                found[records[0].partition] += records
        return [record for records in found.values() for record in records]

    def worker(self, function: AnyFunction) -> Worker:
        """The worker that runs `function` now."""
        (found,) = [run.worker for run in self._runs if run.function.name == function.name]
        assert found is not None, f"{function.name} does not run"
        return found

    async def table(self, function: AnyFunction, name: str) -> dict[str, Any]:
        """All stored rows of a function's table, of all partitions."""
        rows = await self.table_rows(function, name)
        return {key.decode(): msgspec.msgpack.decode(value) for key, value in rows.items()}

    async def table_rows(self, function: AnyFunction, name: str) -> dict[bytes, bytes]:
        """As `table`, as they are stored."""
        rows: dict[bytes, bytes] = {}
        for topic in function.sources:
            for number in range((await self.bus.topics())[topic].partitions):
                async with self.bus.assign([port.TopicPartition(topic, number)], group=function.name) as consumer:
                    rows.update(await consumer.state_scan(name, number))
        return rows

    def _on_change(self) -> None:
        self._changes += 1
        self._changed.set()

    def _advanced(self) -> bool:
        """Where nothing is left but records that wait for their retry: move the clock to the first one's time."""
        activities = [run.worker.activity() for run in self._runs if run.worker is not None]
        due = [due_s for activity in activities for due_s in activity.due_s]
        if not due:
            return False
        if isinstance(self.clock, ManualClock) and not any(activity.busy for activity in activities):
            self.clock.advance(min(due) - self.clock.monotonic())
        return True

    async def _is_idle(self) -> bool:
        before = self._changes
        for run in self._runs:
            if any(
                (
                    await self.bus.lag(run.function.name, run.worker.topics if run.worker else run.function.sources)
                ).values()
            ):
                return False
        busy = self.chaos.visiting or any(run.worker is None or run.worker.activity().busy for run in self._runs)
        return not busy and before == self._changes

    async def _describe(self) -> str:
        states = []
        for run in self._runs:
            lag = sum(
                (
                    await self.bus.lag(run.function.name, run.worker.topics if run.worker else run.function.sources)
                ).values()
            )
            activity = run.worker.activity() if run.worker is not None else None
            states.append(f"{run.function.name} has {lag} records to go ({activity})")
        return "; ".join(states)
