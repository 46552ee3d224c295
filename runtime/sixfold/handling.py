"""The runners of one function: they take lanes in turn, call the handler, and carry out the verdict on each attempt.

Nothing here knows the consumer group; `worker.py` gives records in and says when a partition is given up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog

from sixfold import calling, context, dead_letter, invocation, lanes
from sixfold.bus import port
from sixfold.counters import Counters
from sixfold.function import AnyFunction
from sixfold.intake import Intake
from sixfold.limits import Limits
from sixfold.outputs import OutputCheck, counted_bytes
from sixfold.partition import Partition
from sixfold.process import Process
from sixfold.settling import Settler
from sixfold.waits import Waits


class Handling:
    """Calls one function's handler for the records that come in."""

    def __init__(
        self,
        function: AnyFunction,
        process: Process,
        *,
        outputs: OutputCheck,
        settler: Settler,
        counters: Counters,
        limits: Limits,
        rng: random.Random,
        progressed: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._function = function
        self._process = process
        self._outputs = outputs
        self._settler = settler
        self._counters = counters
        self._limits = limits
        self._rng = rng
        self._progressed = progressed
        self._on_change = on_change
        self._log = structlog.get_logger().bind(function=function.name)
        self._intake = Intake(function, process.registry)
        self._caller = calling.Caller(function, threads_max=function.concurrency)
        self._lanes = lanes.Lanes(function.ordering, function.concurrency)
        self._runners = [calling.Runner() for _ in range(function.concurrency)]
        self._idle: list[asyncio.Future[None]] = []
        self._waits = Waits(process.clock, self._release)
        self._quiet = asyncio.Event()
        self._stopping = asyncio.Event()

    def start(self, stopping: asyncio.Event) -> list[asyncio.Task[Any]]:
        """Start the runners, which begin no new record once `stopping` is set, and their watcher.

        A task that ends has failed.
        """
        self._stopping = stopping
        for number, runner in enumerate(self._runners):
            runner.task = asyncio.create_task(self._run(runner), name=f"{self._function.name} runner {number}")
        watch = asyncio.create_task(self._watch(), name=f"{self._function.name} watch")
        return [watch, *(runner.task for runner in self._runners if runner.task)]

    def close(self) -> list[asyncio.Task[None]]:
        """Take no more calls; returns the tasks that still wait for retries."""
        self._caller.close()
        return self._waits.tasks()

    def take_in(self, partition: Partition, records: Sequence[port.Record]) -> None:
        """Handle `records`, each when its turn comes."""
        self._lanes.add(partition, records)
        self._wake()

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return sum(1 for runner in self._runners if runner.partition is not None)

    @property
    def busy(self) -> bool:
        """Whether a handler runs or a record waits for one (but not for the time of its next attempt)."""
        return bool(self.running or self._lanes.ready)

    def due_s(self) -> tuple[float, ...]:
        """When records that failed get their next attempt, on the process's monotonic clock."""
        return self._waits.due_s()

    def give_up(self, partition: Partition) -> None:
        """Begin nothing more of `partition` but what closes its gap."""
        partition.accepting = False
        for lane in self._waits.lanes():
            self._strand(lane)
        self._waits.skip_refused()

    def _strand(self, lane: lanes.Lane) -> None:
        """`lane` waits for a retry: partitions that are being given up cannot wait with it."""
        for _, partition in lane.items:
            if not partition.accepting:
                partition.leave_gap()
                self._quiet.set()

    def forget(self, partition: Partition) -> None:
        """`partition` is gone; nothing more of it may be settled."""
        self.give_up(partition)
        partition.owned = False
        self._lanes.drop(partition)

    def end(self, partitions: Collection[Partition]) -> int:
        """End the handlers that still run for `partitions`; returns how many there were."""
        late = [runner for runner in self._runners if runner.partition in partitions]
        for runner in late:
            runner.end(invocation.AbandonedError("the worker gives the partition up"))
        return len(late)

    async def until_quiet(self, partitions: Collection[Partition], within_s: float) -> bool:
        """Whether all that was begun of `partitions` is done, within the time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while any(partition.running or partition.gap for partition in partitions):
            self._quiet.clear()
            try:
                await asyncio.wait_for(self._quiet.wait(), deadline - loop.time())
            except TimeoutError:
                return False
        return True

    def _wake(self) -> None:
        for _ in range(min(self._lanes.room, len(self._idle))):
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(None)

    def _release(self, lane: lanes.Lane) -> None:
        self._lanes.release(lane)
        self._wake()

    async def _watch(self) -> None:
        """End attempts that last too long. A call begun while this sleeps cannot be overdue when it wakes."""
        clock, timeout_s = self._process.clock, self._function.timeout_s
        while True:
            now = clock.monotonic()
            wait_s = timeout_s
            for runner in self._runners:
                if runner.started_s is not None:
                    left_s = runner.started_s + timeout_s - now
                    if left_s <= 0:
                        runner.end(invocation.AttemptTimeoutError(f"took longer than timeout_s={timeout_s:g}"))
                    else:
                        wait_s = min(wait_s, left_s)
            await clock.sleep(wait_s)

    async def _run(self, runner: calling.Runner) -> None:
        while True:
            while not self._lanes.ready:
                waiting = asyncio.get_running_loop().create_future()
                self._idle.append(waiting)
                await waiting
            lane = self._lanes.next()
            await self._slice(runner, lane)
            if lane.state is not lanes.State.WAITING:
                self._lanes.release(lane)
            self._progressed()
            self._on_change()
            if self._settler.full:
                await self._settler.room()
            else:
                await asyncio.sleep(0)

    async def _slice(self, runner: calling.Runner, lane: lanes.Lane) -> None:
        """Handle records of `lane` until it is empty, one of them waits, or it is another lane's turn."""
        # The hot path: what it needs of `self` is looked up once, not for each record.
        function, process, decode, inline = self._function, self._process, self._intake.event, self._caller.inline
        monotonic, observe, items = process.clock.monotonic, self._counters.observe, lane.items
        now = monotonic()
        until, left, stopped = now + self._limits.slice_s, self._limits.slice_records, self._stopping.is_set
        while items and left and now < until:
            item = record, partition = items.popleft()
            attempt, lane.attempt = lane.attempt, 1
            if (not partition.accepting or stopped()) and not partition.closes_gap(record, attempt):
                self._quiet.set()
                continue
            left -= 1
            if record.offset > partition.highest:
                partition.highest = record.offset
            ctx = context.Context(function, record, process, partition.tables, attempt)
            outputs: Sequence[port.NewRecord] = ()
            rows: Sequence[port.StatePut] = ()
            size = 0
            error: BaseException | None = None
            runner.partition = partition
            partition.running += 1
            try:
                event = decode(record)
                if event is not None:
                    runner.started_s = now
                    await (inline(event, ctx) if inline else self._caller.in_thread(runner, event, ctx))
                    outputs, rows = ctx.outputs(), ctx.writes()
                    if outputs or rows:
                        size = self._outputs.measure(function, outputs, rows)
            except asyncio.CancelledError as cancelled:
                if runner.cancelled:
                    raise
                error = cancelled
            except Exception as raised:
                error = raised
            called, runner.started_s = runner.started_s is not None, None
            last, now = now, monotonic()
            if called:
                observe(now - last)
            else:
                self._counters.skipped += error is None
            if runner.interrupt is not None:
                error = await self._interrupted(runner, error, ctx)
            self._ended(runner, partition)
            if error is None:
                if size:
                    partition.made(outputs, rows, size)
                    self._counters.emitted += len(outputs)
                self._done(partition, record, size)
                if size and self._settler.full:
                    return
            elif (waiting := self._failed(item, attempt, error, now)) is not None:
                postponed = self._lanes.postpone(lane, item, waiting.attempt)
                self._waits.add(postponed, waiting.at_s)
                self._strand(postponed)
                if postponed is lane:
                    return

    def _ended(self, runner: calling.Runner, partition: Partition) -> None:
        runner.partition = None
        partition.running -= 1
        if not partition.accepting:
            self._quiet.set()

    async def _interrupted(
        self, runner: calling.Runner, error: BaseException | None, ctx: context.Context
    ) -> BaseException | None:
        """What an attempt that was ended from outside comes to: nothing, where it returned all the same."""
        reason = runner.take_interrupt()
        if error is not None and isinstance(reason, invocation.AttemptTimeoutError):
            await self._caller.outlast(runner, ctx)
        return None if error is None else reason

    def _done(self, partition: Partition, record: port.Record, size_bytes: int) -> None:
        self._counters.records += 1
        partition.finish(record)
        self._settler.add(partition, size_bytes)

    def _failed(self, item: lanes.Item, attempt: int, error: BaseException, now_s: float) -> invocation.RetryAt | None:
        """Carry out the verdict on a failed attempt, but for a wait, which is returned. Raises `error` to halt."""
        record, partition = item
        verdict = invocation.decide(self._function.retry, attempt, error, now_s, self._rng)
        if isinstance(verdict, invocation.Abandon):
            return None  # its partition accepts no more work
        self._counters.failures += 1
        log = self._log.bind(topic=record.topic, partition=record.partition, offset=record.offset, attempt=attempt)
        if isinstance(verdict, invocation.Halt):
            self._counters.halted = verdict.reason
            raise error
        if isinstance(verdict, invocation.RetryAt):
            say = log.warning if attempt == 1 else log.debug
            wait_s = round(verdict.at_s - now_s, 3)
            say("an attempt failed; it is tried again", action="retry", wait_s=wait_s, why=invocation.describe(error))
            return verdict
        assert isinstance(verdict, invocation.Park)
        topic = self._function.dead_letter_topic
        log.error("a record was parked", action="park", dead_letters=topic, why=verdict.reason)
        self._counters.dead_letters += 1
        letter = dead_letter.park(self._function, record, attempt, error)
        size = counted_bytes(letter)
        partition.made([letter], (), size)
        self._done(partition, record, size)
        return None
