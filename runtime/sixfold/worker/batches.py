"""Handlers that take a batch of events: which records of it are done, tried again, tried in halves, or parked.

Records that cannot be decoded, or are too old, are parked before the call, each for itself; those that a filter keeps
away are done. A batch that failed as a whole is tried again with the same records. Where only some failed, the others
are done and just those are tried again that failed or must stay in order behind one that did.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import cast

from sixfold.bus import port
from sixfold.registry import schemas
from sixfold.registry.failures import RegistryUnavailableError
from sixfold.telemetry import tracing
from sixfold.worker import calling, invocation, lanes
from sixfold.worker.attempts import Attempts
from sixfold.worker.batch_context import BatchContext
from sixfold.worker.partition import Partition
from sixfold.worker.seen import digest_of
from sixfold_events import Event
from sixfold_events.registry import UnknownSchemaError


class Batches(Attempts):
    """Attempts at many records each."""

    async def slice(self, runner: calling.Runner, lane: lanes.Lane) -> None:
        """One batch of `lane`."""
        batch = self._function.batch
        assert batch is not None
        count, attempt = lane.chunks.popleft() if lane.chunks else (batch.size, 1)
        items = self._begun(self._lanes.take(lane, count), attempt)
        now = self._process.clock.monotonic()
        if not items:
            return
        if (held := self._held_until(now)) is not None:
            self._again(lane, items, [(len(items), attempt)], held)
            return
        try:
            found = await self._found(items)
        except RegistryUnavailableError as away:
            self._uncalled()
            self._counters.failures += 1
            self._log.warning("a batch waits for the schema registry", action="registry.waiting", why=str(away))
            wait_s = invocation.backoff_s(self._function.retry, attempt, self._rng)
            self._again(lane, items, [(len(items), attempt)], now + wait_s)
            return
        taken, events = await self._decoded(items, found, attempt, now)
        if not taken:
            self._uncalled()
            return
        shown = taken
        if self._retry_topic is not None:
            shown = [(self._original(record), partition) for record, partition in taken]
        ctx = BatchContext(self._function, shown, self._process, attempt)
        error = await self._call(runner, events, ctx, now)
        now, began = self._process.clock.monotonic(), now
        self._counters.observe(now - began)
        self._counters.observe_batch(len(events))
        self._told(error or next(iter(ctx.failures.values()), None), now)
        if error is None:
            await self._partly(lane, taken, ctx, now)
        else:
            self._wholly(lane, taken, attempt, error, now)

    def _begun(self, items: list[lanes.Item], attempt: int) -> list[lanes.Item]:
        """Those of `items` that are still this worker's to handle."""
        stopped, begun = self.stopped(), []
        for item in items:
            record, partition = item
            if (stopped or not partition.accepting) and not partition.closes_gap(record, attempt):
                self._quiet()
                continue
            if record.offset > partition.highest:
                partition.highest = record.offset
            begun.append(item)
        return begun

    async def _found(self, items: Sequence[lanes.Item]) -> list[Event | Exception | None]:
        """What each record holds, or why that cannot be told. Raises RegistryUnavailableError where nobody can say yet."""
        found: list[Event | Exception | None] = []
        decode, returning = self._intake.event, self._retry_topic is not None
        for record, _ in items:
            original = self._original(record) if returning else record
            try:
                found.append(decode(original))
            except UnknownSchemaError:
                try:
                    found.append(await schemas.decoded(self._process, functools.partial(decode, original)))
                except RegistryUnavailableError:
                    raise
                except Exception as error:
                    found.append(error)
            except Exception as error:
                found.append(error)
        return found

    async def _decoded(
        self, items: Sequence[lanes.Item], found: Sequence[Event | Exception | None], attempt: int, now_s: float
    ) -> tuple[Sequence[lanes.Item], Sequence[Event]]:
        """The records that the handler gets, and their events."""
        ageing = self._function.retry.age_max_s is not None
        if (
            not ageing
            and items[0][1].seen is None
            and not any(event is None or isinstance(event, Exception) for event in found)
        ):
            return items, cast("Sequence[Event]", found)
        taken: list[lanes.Item] = []
        events: list[Event] = []
        digests: set[int] = set()
        for item, event in zip(items, found, strict=True):
            record, partition = item
            try:
                self._fresh(record)
                if isinstance(event, Exception):
                    raise event
                if event is not None and partition.seen is not None:
                    digest = digest_of(self._original(record))
                    if digest in digests or await self._known(partition, digest):
                        event = None
                    elif digest is not None:
                        digests.add(digest)
            except Exception as error:
                self._failed(item, self._number(record, attempt), error, now_s)
                continue
            if event is None:
                self._counters.skipped += 1
                self._done(partition, record, 0)
                continue
            taken.append(item)
            events.append(event)
        return taken, events

    async def _call(
        self, runner: calling.Runner, events: Sequence[Event], ctx: BatchContext, now_s: float
    ) -> BaseException | None:
        """Call the handler; what it raised."""
        partitions: list[Partition] = list(dict.fromkeys(partition for _, partition in ctx.items))
        for partition in partitions:
            partition.running += 1
        runner.partitions = partitions
        error: BaseException | None = None
        try:
            if self._function.cpu_bound:
                await self._caller.prepare(runner)
                now_s = self._process.clock.monotonic()
            runner.started_s = now_s
            call = self._caller.inline or self._caller.bound(runner)
            if self._process.tracing is not None:
                system = tracing.system_of(self._process.bus_url)
                call = self._process.tracing.batch(call, self._function.name, system, ctx.records)
            await call(events, ctx)
        except asyncio.CancelledError as cancelled:
            if runner.cancelled:
                raise
            error = cancelled
        except Exception as raised:
            error = raised
        runner.started_s = None
        if runner.interrupt is not None:
            error = await self._interrupted(runner, error, ctx[0])
        runner.partitions = ()
        for partition in partitions:
            partition.running -= 1
            if not partition.accepting:
                self._quiet()
        return error

    async def _partly(self, lane: lanes.Lane, items: Sequence[lanes.Item], ctx: BatchContext, now_s: float) -> None:
        """The handler returned: what it called failed, and what made too much, is failed; the rest is done."""
        if not ctx.used and items[0][1].seen is None:
            self._done_all(items)
            return
        blocked: set[object] = set()
        again: list[lanes.Item] = []
        due_s = now_s
        for index, item in enumerate(items):
            record, partition = item
            scope = self._scope(index, record, partition)
            if scope in blocked:
                again.append(item)
                continue
            error = ctx.failures.get(index)
            size = 0
            outputs: Sequence[port.NewRecord] = ()
            rows: port.State = {}
            if error is None:
                try:
                    outputs, rows = ctx.made(index)
                    if outputs or rows:
                        size = self._outputs.measure(self._function, outputs, rows)
                except Exception as raised:
                    error = raised
            if error is None:
                if size:
                    partition.made(outputs, rows, size)
                    self._counters.emitted += len(outputs)
                if partition.seen is not None:
                    self._handled(partition, digest_of(self._original(record)))
                self._done(partition, record, size)
            elif (waiting := self._failed(item, self._number(record, ctx.attempt), error, now_s)) is not None:
                blocked.add(scope)
                again.append(item)
                due_s = max(due_s, waiting.at_s)
        if again:
            self._again(lane, again, [(len(again), ctx.attempt + 1)], due_s)

    def _number(self, record: port.Record, attempt: int) -> int:
        """Number of the attempt at `record`, where its batch is tried for the `attempt`-th time."""
        return attempt + self._returned(record).attempt - 1

    def _scope(self, index: int, record: port.Record, partition: Partition) -> object:
        """What must stay in order with a record."""
        if self._function.ordering == "partition":
            return partition
        if self._function.ordering == "key" and record.key is not None:
            return partition, record.key
        return index

    def _wholly(
        self, lane: lanes.Lane, items: Sequence[lanes.Item], attempt: int, error: BaseException, now_s: float
    ) -> None:
        """The handler raised: the batch, or its halves, are tried again; in the end all of it is parked."""
        assert self._function.batch is not None
        bisect = self._function.batch.bisect and len(items) > 1
        verdict = invocation.decide(self._function.retry, attempt, error, now_s, self._rng, bisect=bisect)
        if isinstance(verdict, invocation.Bisect):
            self._counters.failures += 1
            self._log.warning(
                "a batch failed; its halves are tried apart",
                action="bisect",
                records=len(items),
                attempt=attempt,
                why=invocation.describe(error),
            )
            half = len(items) // 2
            self._again(lane, items, [(half, attempt), (len(items) - half, attempt)], verdict.at_s)
            return
        if self._function.defers and not isinstance(verdict, invocation.Abandon | invocation.Halt):
            for item in items:  # each has attempts of its own
                self._failed(item, self._number(item[0], attempt), error, now_s)
            return
        if isinstance(verdict, invocation.Park):
            self._counters.failures += 1
            for item in items:
                self._park(item, attempt, error, verdict.reason)
            return
        if (waiting := self._carry_out(verdict, items[0], attempt, error, now_s)) is not None:
            self._again(lane, items, [(len(items), waiting.attempt)], waiting.at_s)

    def _again(
        self, lane: lanes.Lane, items: Sequence[lanes.Item], chunks: Sequence[tuple[int, int]], at_s: float
    ) -> None:
        waiting = self._postpone(lane, items, chunks[0][1], at_s)
        waiting.chunks.extendleft(reversed(chunks))
