"""What becomes of records after an attempt at them: done, tried again, parked. Shared by one record and by batches.

`invocation.py` decides; this carries the verdict out, but for waits, which `handling.py` keeps.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Callable, Sequence

import structlog

from sixfold import clock as clocks
from sixfold import dead_letter, errors, replies, retries, timers
from sixfold.breaker import Circuit, State
from sixfold.bus import checking, port
from sixfold.context import Context
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.telemetry.counters import Counters
from sixfold.worker import invocation, lanes
from sixfold.worker.calling import Caller, Runner
from sixfold.worker.intake import Intake, RawIntake
from sixfold.worker.limits import Limits
from sixfold.worker.outputs import OutputCheck, counted_bytes
from sixfold.worker.partition import Partition
from sixfold.worker.settling import Settler

HALF_OPEN_WAIT_S = 0.1
"""How often it is looked whether the one trial call of a half-open circuit has ended."""


class ExpiredError(errors.PermanentError):
    """A record is older than the function's `Retry.age_max_s`."""


class Attempts(abc.ABC):
    """One function's attempts; `Singles` and `Batches` make them."""

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
        caller: Caller,
        returning: bool,
        quiet: Callable[[], None],
        all_lanes: lanes.Lanes,
        postpone: Callable[[lanes.Lane, Sequence[lanes.Item], int, float], lanes.Lane],
    ) -> None:
        """`returning`: records may come through the retry topic. `quiet` is called when a partition that is being given up may have nothing running any more; `postpone`
        keeps items of a lane until a time, and returns the lane that waits: that one, or one just for them."""
        self._function = function
        self._process = process
        self._outputs = outputs
        self._settler = settler
        self._counters = counters
        self._limits = limits
        self._rng = rng
        self._caller = caller
        self.stopped: Callable[[], bool] = lambda: False
        """Whether no new record is to be begun."""
        self._quiet = quiet
        self._lanes = all_lanes
        self._postpone = postpone
        self._retry_topic = function.retry_topic if returning else None
        self._intake = RawIntake(function) if function.raw else Intake(function, process.registry)
        self._circuit = None if function.breaker is None else Circuit(function.breaker)
        self._log = structlog.get_logger().bind(function=function.name)

    @property
    def breaker(self) -> str:
        """State of the circuit breaker; empty without one."""
        return "" if self._circuit is None else self._circuit.state.value

    @abc.abstractmethod
    async def slice(self, runner: Runner, lane: lanes.Lane) -> None:
        """Handle records of `lane` until it is empty, one of them waits, or it is another lane's turn."""

    def _held_until(self, now_s: float) -> float | None:
        """When the circuit lets a call through again; None where it does now."""
        if self._circuit is None or self._circuit.may_call(now_s):
            return None
        return max(self._circuit.until_s, now_s + HALF_OPEN_WAIT_S)

    def _fresh(self, record: port.Record) -> None:
        """Raises ExpiredError for a record that is too old."""
        age_max_s = self._function.retry.age_max_s
        if age_max_s is not None and (age_s := self._age_s(record)) > age_max_s:
            raise ExpiredError(f"it is {age_s:.1f} s old, more than age_max_s={age_max_s:g}")

    def _age_s(self, record: port.Record) -> float:
        returned = self._returned(record)
        # One that was redriven is as old as its redrive: somebody wants it in spite of its age.
        since_ms = record.timestamp_ms if returned.redrives else returned.record.timestamp_ms
        return (clocks.now_ms(self._process.clock) - since_ms) / 1000

    def _uncalled(self) -> None:
        """The circuit let a call through that was not made."""
        if self._circuit is not None:
            self._circuit.unused()

    async def _known(self, partition: Partition, digest: int | None) -> bool:
        """Whether the event of this digest was handled before; only with delivery "effectively-once"."""
        seen = partition.seen
        if seen is None or digest is None:
            return False
        if not seen.loaded:
            await seen.load()
        return seen.has(digest, clocks.now_ms(self._process.clock))

    def _told(self, error: BaseException | None, now_s: float) -> None:
        """Tell the circuit how a call ended."""
        if self._circuit is not None and self._circuit.ended(error, now_s):
            state, until_s = self._circuit.state, self._circuit.until_s
            self._counters.breaker_openings += state is State.OPEN
            self._log.warning(
                "the circuit breaker changed",
                action="breaker",
                state=state.value,
                pause_s=round(max(0.0, until_s - now_s), 3),
                why=invocation.describe(error) if error else "a call succeeded",
            )

    async def _interrupted(
        self, runner: Runner, error: BaseException | None, first: Context | None
    ) -> BaseException | None:
        """What an attempt that was ended from outside comes to: nothing, where it returned all the same."""
        reason = runner.take_interrupt()
        if error is not None and first is not None and isinstance(reason, invocation.AttemptTimeoutError):
            await self._caller.outlast(runner, first)
        return None if error is None else reason

    def _handled(self, partition: Partition, digest: int | None) -> None:
        """Know the event from now on: it was handled, and what came of it is in the share that is open."""
        if digest is not None and partition.seen is not None:
            partition.seen.add(digest, clocks.now_ms(self._process.clock))

    def _done(self, partition: Partition, record: port.Record, size_bytes: int) -> None:
        self._counters.records += 1
        partition.finish(record)
        self._settler.add(partition, size_bytes)

    def _done_all(self, items: Sequence[lanes.Item]) -> None:
        """`items` are done, and nothing came of them."""
        self._counters.records += len(items)
        for record, partition in items:
            partition.finish(record)
        for partition in dict.fromkeys(partition for _, partition in items):
            self._settler.add(partition, 0, records=0)
        self._settler.count(len(items))

    def _failed(self, item: lanes.Item, attempt: int, error: BaseException, now_s: float) -> invocation.RetryAt | None:
        """Carry out the verdict on a failed attempt, but for a wait, which is returned. Raises `error` to halt."""
        age_s = self._age_s(item[0])
        verdict = invocation.decide(self._function.retry, attempt, error, now_s, self._rng, age_s=age_s)
        return self._carry_out(verdict, item, attempt, error, now_s)

    def _carry_out(
        self, verdict: invocation.Verdict, item: lanes.Item, attempt: int, error: BaseException, now_s: float
    ) -> invocation.RetryAt | None:
        record, _ = item
        if isinstance(verdict, invocation.Abandon):
            return None  # its partition accepts no more work
        self._counters.failures += 1
        if isinstance(verdict, invocation.Halt):
            self._counters.halted = verdict.reason
            raise error
        if isinstance(verdict, invocation.RetryAt):
            log = self._log.bind(topic=record.topic, partition=record.partition, offset=record.offset, attempt=attempt)
            say = log.warning if attempt == 1 else log.debug
            wait_s = round(verdict.at_s - now_s, 3)
            if self._function.defers:
                self._defer(item, verdict.attempt, wait_s, error)
            say("an attempt failed; it is tried again", action="retry", wait_s=wait_s, why=invocation.describe(error))
            return None if self._function.defers else verdict
        assert isinstance(verdict, invocation.Park)
        self._park(item, attempt, error, verdict.reason)
        return None

    def _defer(self, item: lanes.Item, attempt: int, wait_s: float, error: BaseException) -> None:
        """The record waits as a timer, and is done here; one too large for that is parked."""
        record, partition = item
        original = self._original(record)
        due_ms = clocks.now_ms(self._process.clock) + round(wait_s * 1000)
        returned = self._returned(record)._replace(attempt=attempt)
        partitions = self._outputs.partitions_of(self._function.retry_topic)
        timer = retries.timer_of(self._function, returned, due_ms=due_ms, partitions=partitions)
        rows = timers.state(record.partition, {retries.name_of(original): timer})
        row_bytes = checking.above(rows[timers.TABLE, record.partition], port.ROW_BYTES_MAX)
        if row_bytes is not None:
            why = f"too large to wait for its retry ({row_bytes} bytes, at most {port.ROW_BYTES_MAX})"
            self._park(item, attempt - 1, error, f"{why}: {invocation.describe(error)}")
            return
        size = counted_bytes(timer.record())
        partition.made((), rows, size)
        self._done(partition, record, size)

    def _original(self, record: port.Record) -> port.Record:
        """`record` as it lay before it failed for the first time."""
        return retries.read(record).record if record.topic == self._retry_topic else record

    def _returned(self, record: port.Record) -> retries.Returned:
        """`record` with what came with it; one that did not come back is at its first attempt."""
        return retries.read(record) if record.topic == self._retry_topic else retries.Returned(record, 1)

    def _park(self, item: lanes.Item, attempt: int, error: BaseException, reason: str) -> None:
        record, partition = item
        original, _, redrives = self._returned(record)
        self._log.error(
            "a record was parked",
            action="park",
            topic=original.topic,
            partition=original.partition,
            offset=original.offset,
            attempt=attempt,
            dead_letters=self._function.dead_letter_topic,
            why=reason,
        )
        self._counters.dead_letters += 1
        made = [dead_letter.park(self._function, original, attempt, error, redrives)]
        if self._function.answers:
            reply = replies.failure(original, self._function.name, error, self._process.clock)
            made += [reply] if reply is not None else []
        size = sum(map(counted_bytes, made))
        partition.made(made, {}, size)
        self._done(partition, record, size)
