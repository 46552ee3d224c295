"""The runners of one function: they take lanes in turn, call the handler, and carry out the verdict on each attempt.

Nothing here knows the consumer group; `member.py` gives records in and says when a partition is given up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry.counters import Counters
from sixfold.worker import calling, invocation, lanes
from sixfold.worker.batches import Batches
from sixfold.worker.limits import Limits
from sixfold.worker.outputs import OutputCheck
from sixfold.worker.partition import Partition
from sixfold.worker.settling import Settler
from sixfold.worker.singles import Singles
from sixfold.worker.waits import Waits


class Handling:
    """Calls one function's handler for the records that come in."""

    def __init__(
        self,
        function: AnyFunction,
        process: Process,
        *,
        returning: bool,
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
        self._settler = settler
        self._progressed = progressed
        self._on_change = on_change
        self._caller = calling.Caller(function, threads_max=function.concurrency)
        self._lanes = lanes.Lanes(
            function.ordering,
            function.concurrency,
            function.batch,
            gather=self._gather,
            full=self._full,
            tables=bool(function.tables),
        )
        self._runners = [calling.Runner() for _ in range(function.concurrency)]
        self._idle: list[asyncio.Future[None]] = []
        self._waits = Waits(process.clock, self._release)
        self._quiet = asyncio.Event()
        attempts = Singles if function.batch is None else Batches
        self._attempts = attempts(
            function,
            process,
            outputs=outputs,
            settler=settler,
            counters=counters,
            limits=limits,
            rng=rng,
            caller=self._caller,
            returning=returning,
            quiet=self._quiet.set,
            all_lanes=self._lanes,
            postpone=self._postpone,
        )

    def start(self, stopping: asyncio.Event) -> list[asyncio.Task[Any]]:
        """Start the runners, which begin no new record once `stopping` is set, and their watcher.

        A task that ends has failed.
        """
        self._attempts.stopped = stopping.is_set
        for number, runner in enumerate(self._runners):
            runner.task = asyncio.create_task(self._run(runner), name=f"{self._function.name} runner {number}")
        watch = asyncio.create_task(self._watch(), name=f"{self._function.name} watch")
        return [watch, *(runner.task for runner in self._runners if runner.task)]

    def close(self) -> list[asyncio.Task[None]]:
        """Take no more calls; returns the tasks that still wait for retries."""
        self._caller.close()
        return self._waits.tasks()

    async def gone(self) -> None:
        """After `close`, once its tasks have ended: return when nothing of a handler's is left but threads."""
        await self._caller.gone()

    def take_in(self, partition: Partition, records: Sequence[port.Record]) -> None:
        """Handle `records`, each when its turn comes."""
        self._lanes.add(partition, records)
        self._wake()

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return sum(1 for runner in self._runners if runner.partitions)

    @property
    def busy(self) -> bool:
        """Whether a handler runs or a record waits for one (but not for the time of its next attempt)."""
        return bool(self.running or self._lanes.ready)

    @property
    def retrying(self) -> int:
        """Lanes whose first records wait for their next attempt."""
        return sum(1 for lane in self._waits.lanes() if lane.state is lanes.State.WAITING)

    @property
    def breaker(self) -> str:
        """State of the circuit breaker; empty without one."""
        return self._attempts.breaker

    def waits(self, now_s: float) -> bool:
        """Whether a handler runs within its time limit, or a lane waits for a time that is still to come."""
        timeout_s = self._function.timeout_s
        within = any(each.started_s is not None and now_s - each.started_s <= timeout_s for each in self._runners)
        return within or any(due_s > now_s for due_s in self._waits.due_s())

    def due_s(self) -> tuple[float, ...]:
        """When waits end, for the next attempt or for a batch's window, on the process's monotonic clock."""
        return self._waits.due_s()

    def give_up(self, partition: Partition) -> None:
        """Begin nothing more of `partition` but what closes its gap."""
        partition.accepting = False
        for lane in self._waits.lanes():
            if lane.state is lanes.State.WAITING:
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
        late = [runner for runner in self._runners if any(each in partitions for each in runner.partitions)]
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

    def _postpone(self, lane: lanes.Lane, items: Sequence[lanes.Item], attempt: int, at_s: float) -> lanes.Lane:
        """Keep `items`, taken from `lane`, until `at_s`; returns the lane that waits: `lane`, or one just for them."""
        postponed = self._lanes.postpone(lane, items, attempt)
        self._waits.add(postponed, at_s)
        self._strand(postponed)
        return postponed

    def _gather(self, lane: lanes.Lane) -> None:
        """`lane` has less than a batch: its window begins."""
        assert self._function.batch is not None
        self._waits.add(lane, self._process.clock.monotonic() + self._function.batch.window_s)

    def _full(self, lane: lanes.Lane) -> None:
        self._waits.cancel(lane)

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
            await self._attempts.slice(runner, lane)
            if lane.state is not lanes.State.WAITING:
                self._lanes.release(lane)
            self._progressed()
            self._on_change()
            if self._settler.full:
                await self._settler.room()
            else:
                await asyncio.sleep(0)
