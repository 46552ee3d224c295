"""Handlers that take one event at a time: the hot path."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from sixfold import context, retries
from sixfold.bus import port
from sixfold.registry import schemas
from sixfold.telemetry import tracing
from sixfold.worker import calling, lanes
from sixfold.worker.attempts import Attempts
from sixfold.worker.seen import digest_of
from sixfold_events import Event
from sixfold_events.registry import UnknownSchemaError


class Singles(Attempts):
    """Attempts at one record each."""

    async def slice(self, runner: calling.Runner, lane: lanes.Lane) -> None:
        # What the loop needs of `self` is looked up once, not for each record.
        function, process, decode, inline = self._function, self._process, self._intake.event, self._caller.inline
        monotonic, observe, items = process.clock.monotonic, self._counters.observe, lane.items
        retry_topic, answers, cpu_bound = self._retry_topic, function.answers, function.cpu_bound
        if process.tracing is not None:
            system, call = tracing.system_of(process.bus_url), inline or functools.partial(self._caller.plain, runner)
            inline = process.tracing.single(call, function.name, system)
        circuit, ageing = self._circuit, function.retry.age_max_s is not None
        now = monotonic()
        until, left, stopped = now + self._limits.slice_s, self._limits.slice_records, self.stopped
        while items and left and now < until:
            item = record, partition = items.popleft()
            attempt, lane.attempt = lane.attempt, 1
            if (not partition.accepting or stopped()) and not partition.closes_gap(record, attempt):
                self._quiet()
                continue
            if circuit is not None and (held := self._held_until(now)) is not None:
                if self._postpone(lane, [item], attempt, held) is lane:
                    return
                continue
            left -= 1
            if record.offset > partition.highest:
                partition.highest = record.offset
            original = record
            if retry_topic is not None and record.topic == retry_topic:
                original, due, _ = retries.read(record)
                attempt += due - 1
            ctx = context.Context(function, original, process, partition.tables, attempt)
            if original is not record:
                ctx.number = partition.tp.partition
            outputs: Sequence[port.NewRecord] = ()
            rows: port.State = {}
            size = 0
            error: BaseException | None = None
            digest = None if partition.seen is None else digest_of(original)
            runner.partitions = partition.alone
            partition.running += 1
            try:
                if ageing:
                    self._fresh(record)
                try:
                    event = decode(original)
                except UnknownSchemaError:
                    event = await schemas.decoded(process, functools.partial(decode, original))
                if event is not None and digest is not None and await self._known(partition, digest):
                    event = None
                if event is not None:
                    if cpu_bound:
                        await self._caller.prepare(runner)
                        now = monotonic()
                    runner.started_s = now
                    result = await (inline(event, ctx) if inline else self._caller.plain(runner, event, ctx))
                    if answers and isinstance(result, Event):
                        ctx.answer(result)
                    if ctx.used:
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
            runner.partitions = ()
            partition.running -= 1
            if not partition.accepting:
                self._quiet()
            if circuit is not None:
                if called:
                    self._told(error, now)
                else:
                    circuit.unused()
            if error is None:
                if size:
                    partition.made(outputs, rows, size)
                    self._counters.emitted += len(outputs)
                if called and digest is not None:
                    self._handled(partition, digest)
                self._done(partition, record, size)
                if size and self._settler.full:
                    return
            elif (waiting := self._failed(item, attempt, error, now)) is not None and (
                self._postpone(lane, [item], waiting.attempt, waiting.at_s) is lane
            ):
                return
