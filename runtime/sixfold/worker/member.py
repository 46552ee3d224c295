"""Runs one function as a member of its consumer group: fetch, handle, settle; and let go of what a rebalance takes.

At least once: a record's offset is committed after the handler returned and its outputs and rows are stored, or after
it was parked; never before. `invocation.py` decides on each record, `lanes.py` on what runs side by side,
`handling.py` calls the handler, `settling.py` decides when to settle, `fetching.py` how much to take on.

Crash points. Before a settle: the record is delivered again. During one: the bus's promise (`port.py`) holds, on the
embedded bus all of it or nothing. A handler's own outside effects may happen again; `ctx.event_id` is the same then.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry.counters import Counters
from sixfold.topic_names import TopicNames
from sixfold.worker.alarms import Alarms
from sixfold.worker.fetching import Fetcher, Turn
from sixfold.worker.handling import Handling
from sixfold.worker.limits import DEFAULT, LettingGo, Limits
from sixfold.worker.outputs import OutputCheck
from sixfold.worker.partition import Partition
from sixfold.worker.seen import Seen
from sixfold.worker.settling import Settler
from sixfold.worker.state import PartitionState
from sixfold.worker.watchdog import Sight

ASK_S = 10.0
"""A bus that does not say within this how much there is to read is away."""


class Activity(NamedTuple):
    """What a worker is doing, at one moment."""

    busy: bool
    """It is joining its group, a handler runs, records wait for one, or something waits to be settled."""
    due_s: tuple[float, ...]
    """When records that failed get their next attempt, on the process's monotonic clock."""


class Worker:
    """One member of one function's group. `run` it once."""

    def __init__(
        self,
        function: AnyFunction,
        process: Process,
        *,
        topics: Sequence[str] | None = None,
        counters: Counters | None = None,
        limits: Limits = DEFAULT,
        rng: random.Random | None = None,
        bus_clock: clocks.Clock | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`topics` are what it reads, `function.sources` unless given. `bus_clock` times waits for the bus: the machine's own, since a test that holds `process.clock` does not hold
        the bus."""
        self.function = function
        self.counters = counters or Counters(function.name)
        if function.batch is not None:
            held = function.concurrency + 1  # one that is handled by each runner, and one that gathers
            limits = limits.for_batches(function.batch, held, by_partition=function.ordering == "partition")
        self._process = process
        self._limits = limits
        self._log = structlog.get_logger().bind(function=function.name)
        bus = process.require_bus()
        self._bus_clock = bus_clock = bus_clock or clocks.SystemClock()
        self._process = process
        self._bus = bus
        self._joined = False
        self._opened = False
        self._assignments = 0
        self.topics = tuple(function.sources if topics is None else topics)
        self._consumer = bus.subscribe(
            function.name,
            self.topics,
            start=function.start,
            listener=self,
            member=process.member,
            revoke_timeout_s=limits.revoke_s,
            standby=function.standby,
        )
        self._settler = Settler(function.name, self._consumer, bus_clock, limits, self.counters, on_change)
        self._settler.atomic = function.delivery == "exactly-once"
        self._fetcher = Fetcher(function.name, self._consumer, bus_clock, limits, self._take_in)
        self._alarms = Alarms(function, process.clock, self._fetcher.partitions, self._settler, self.counters)
        self._outputs = OutputCheck(limits.result_bytes_max)
        self._handling = Handling(
            function,
            process,
            returning=function.retry_topic in self.topics,
            outputs=self._outputs,
            settler=self._settler,
            counters=self.counters,
            limits=limits,
            rng=rng or random.Random(),  # noqa: S311 (spreads retries, guards nothing)
            progressed=self._fetcher.progressed,
            on_change=on_change,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then finish what runs, settle and leave the group.

        Where the topics that match the function's patterns change it stops in the same way; start another then.

        Raises FunctionBugError where the function's code contradicts its declaration, and whatever the bus raises that
        waiting does not mend; nothing is lost then either, the group's next worker goes on from what is committed.
        """
        self._outputs.learn(await self._bus.topics())
        tasks: list[asyncio.Task[Any]] = []
        try:
            async with self._consumer:
                self._opened = True
                turn = await self._process.resources.get(Turn)
                fetching = asyncio.create_task(self._fetcher.run(turn), name=f"{self.function.name} fetch")
                settling = asyncio.create_task(self._settler.run(), name=f"{self.function.name} settle")
                alarms = asyncio.create_task(self._alarms.run(), name=f"{self.function.name} alarms")
                tasks += [fetching, settling, alarms, *self._handling.start(stopping)]
                over: list[asyncio.Task[Any]] = [
                    asyncio.create_task(stopping.wait(), name=f"{self.function.name} stop")
                ]
                if self.function.topic_patterns or not self.function.defers:
                    over.append(asyncio.create_task(self._outdated(), name=f"{self.function.name} topics"))
                try:
                    await _until(over, tasks)
                except BaseException:
                    for partition in self._fetcher.partitions.values():
                        partition.leave_gap()  # a runner may be gone that would have closed it
                    raise
                finally:
                    await _cancel([fetching])
                    if not settling.done():
                        await self._drain(self._fetcher.partitions.values(), self._limits.drain_s)
        finally:
            await _cancel([*tasks, *self._handling.close()])
            await self._handling.gone()

    async def _outdated(self) -> None:
        """Return once it should read other topics: more match its patterns, or dead letters are redriven to it."""
        while True:
            await self._bus_clock.sleep(self._limits.topics_s)
            with contextlib.suppress(port.BusUnavailableError):
                known = await self._process.resources.get(TopicNames)
                names = await known.now(age_s_max=self._limits.topics_s / 2)
                if self.function.sources_among(names) != self.topics:
                    return

    def activity(self) -> Activity:
        """What the worker is doing now."""
        joining = not self._joined and not self._fetcher.began
        busy = joining or self._handling.busy or not self._settler.idle() or self._alarms.overdue
        return Activity(busy, (*self._handling.due_s(), *self._alarms.retries_s()))

    def sight(self) -> Sight:
        """What the watchdog looks at."""
        counters, partitions = self.counters, self._fetcher.partitions.values()
        return Sight(
            joined=self._opened,
            fetches=self._fetcher.returned,
            moved=(
                counters.records,
                counters.attempts,
                counters.failures,
                self._settler.settles,
                self._assignments,
                sum(each.next_offset for each in partitions),
            ),
            waits=self._settler.away or self._fetcher.away or self._handling.waits(self._process.clock.monotonic()),
            backlog=sum(each.backlog_records for each in partitions),
            settling=not self._settler.idle(),
        )

    async def unread(self) -> tuple[int, bool]:
        """Records on the bus that this worker has not fetched of its partitions, and whether the bus answered."""
        try:
            async with asyncio.timeout(ASK_S):
                lag = await self._bus.lag(self.function.name, self.topics)
                behind = [tp for tp in self._fetcher.partitions if lag.get(tp)]
                ends = {tp: (await self._bus.offsets(tp)).end for tp in behind}
        except (errors.SixfoldError, TimeoutError):
            return 0, False
        held = self._consumer.assignment()
        # Not the lag itself: what no reader sees (transaction markers) may lie behind the last record for ever.
        return sum(max(0, end - self._consumer.position(tp)) for tp, end in ends.items() if tp in held), True

    def backlog(self) -> dict[port.TopicPartition, int]:
        """Records fetched and not done, by the partitions that are this worker's."""
        return {tp: partition.backlog_records for tp, partition in self._fetcher.partitions.items()}

    def count(self) -> None:
        """Bring the gauges among the counters up to date."""
        self.counters.running = self._handling.running
        self.counters.breaker = self._handling.breaker
        self.counters.standby_lag = self._consumer.standby_lag
        self.counters.retrying = self._handling.retrying + len(self._alarms.retries_s())

    async def on_assigned(self, partitions: Sequence[port.TopicPartition]) -> None:
        """These are this worker's from now on (port.Listener)."""
        bases = {tp: self._consumer.position(tp) for tp in partitions}
        taken = []
        for tp, base in bases.items():
            partition = Partition(
                tp, self._consumer, state=self._state(tp.partition), base=base, note=await self._consumer.note(tp)
            )
            self._fetcher.partitions[tp] = partition
            taken.append(partition)
        for partition in taken:
            with contextlib.suppress(port.FencedError):  # gone meanwhile, as will be told
                await self._alarms.take(partition)
        self._joined = True
        self._assignments += 1
        self._log.info("partitions assigned", action="assigned", partitions=_names(partitions))

    def _state(self, number: int) -> PartitionState:
        """What the partitions of a number share: that of one which is here already, or a new one."""
        for partition in self._fetcher.partitions.values():
            if partition.tp.partition == number and partition.owned:
                return partition.state
        state = PartitionState(
            number,
            self._consumer,
            share_bytes_max=self._limits.settle_bytes_max,
            on_timer=self._alarms.changed,
        )
        if self.function.delivery == "effectively-once":
            state.seen = Seen(number, state.tables, self.function.dedupe_s)
        return state

    async def on_revoked(self, partitions: Sequence[port.TopicPartition]) -> None:
        """Finish what runs for these and settle it; another member gets them when this returns (port.Listener)."""
        held = [self._fetcher.partitions[tp] for tp in partitions if tp in self._fetcher.partitions]
        await self._drain(held, self._limits.revoke_s * 0.8)
        await self.on_lost(partitions)

    async def on_lost(self, partitions: Sequence[port.TopicPartition]) -> None:
        """Drop all that belongs to these; another member does it (port.Listener)."""
        self._assignments += 1
        for tp in partitions:
            partition = self._fetcher.partitions.pop(tp, None)
            if partition is not None:
                self._handling.forget(partition)
                partition.state.partitions.remove(partition)
        self._log.info("partitions gone", action="gone", partitions=_names(partitions))

    def _take_in(self, partition: Partition, records: Sequence[port.Record]) -> None:
        if records:
            self._handling.take_in(partition, records)
        if partition.state.dirty:  # records that an earlier owner had finished
            self._settler.add(partition, 0, records=0)

    async def _drain(self, partitions: Iterable[Partition], within_s: float) -> None:
        """Let handlers that run for `partitions` finish, for `within_s` at most; end the others; settle."""
        draining, deadlines = list(partitions), LettingGo.within(within_s)
        for partition in draining:
            self._handling.give_up(partition)
        if not await self._handling.until_quiet(draining, deadlines.handlers_s):
            self._log.warning(
                "handlers did not finish in time; their records will be delivered again",
                action="drain.abandoned",
                handlers=self._handling.end(draining),
                within_s=within_s,
            )
            await self._handling.until_quiet(draining, deadlines.ended_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settler.flush(draining), deadlines.settle_s)


async def _until(over: Sequence[asyncio.Task[Any]], tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Return once one of `over` is done; raise what a task raised that ended before."""
    try:
        ended, _ = await asyncio.wait([*over, *tasks], return_when=asyncio.FIRST_COMPLETED)
        failures = [task.exception() for task in ended if not task.cancelled()]
        for failure in sorted(filter(None, failures), key=lambda each: not isinstance(each, errors.FunctionBugError)):
            raise failure
    finally:
        await _cancel(over)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raise was raised before or does not matter any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def _names(partitions: Sequence[port.TopicPartition]) -> str:
    return ", ".join(f"{topic}:{partition}" for topic, partition in sorted(partitions))
