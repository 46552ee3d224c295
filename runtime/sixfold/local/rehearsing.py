"""Calling a function with records of the log as a worker does, but for the effects: what came of them is told.

`sixfold invoke`, `replay` and `shadow` stand on it. Nothing is published, stored or committed; rows that a call wrote
are seen by the next one where `keep` was told so. What a handler does by itself (files, calls to others) it does here
too, and a failed attempt is not tried again.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sixfold import retries
from sixfold.bus import port
from sixfold.context import Context, TableReader
from sixfold.function import AnyFunction
from sixfold.process import Process
from sixfold.registry import schemas
from sixfold.worker import invocation
from sixfold.worker.batch_context import BatchContext
from sixfold.worker.intake import Intake, RawIntake
from sixfold.worker.partition import Partition
from sixfold.worker.seen import digest_of
from sixfold_events import Event

Scheduled = tuple[int, Event] | None
"""When (Unix milliseconds) and what; None takes a timer away."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of one record."""

    record: port.Record
    """As it lay in its own topic."""
    event_id: str
    emitted: Sequence[Event] = ()
    outputs: Sequence[port.NewRecord] = ()
    """`emitted` as they would be published, one for one; a reply is not among them."""
    rows: port.State = field(default_factory=dict)
    """What it wrote to its tables, and what sets `timers`."""
    timers: dict[str, Scheduled] = field(default_factory=dict)
    answer: Event | None = None
    result: Any = None
    error: BaseException | None = None
    skipped: bool = False
    """It is none of the function's, its filter keeps it away, or its event was handled before."""
    duration_s: float = 0.0

    @property
    def verdict(self) -> str:
        """What a worker would do next: `ack`, `retry`, `park` or `halt`."""
        return "ack" if self.error is None else invocation.rule_of(self.error).value


class Rows:
    """Rows of a function as `below` has them, under those that calls wrote here."""

    def __init__(self, below: TableReader | None = None) -> None:
        self._below = below
        self.written: dict[tuple[str, int], dict[bytes, bytes | None]] = {}

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The row as the next call sees it."""
        written = self.written.get((table, partition), {})
        if key in written:
            return written[key]
        return None if self._below is None else await self._below.state_get(table, partition, key)

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows of a table's partition, in key order."""
        stored = [] if self._below is None else await self._below.state_scan(table, partition)
        found: dict[bytes, bytes | None] = dict(stored)
        found.update(self.written.get((table, partition), {}))
        return [(key, value) for key, value in sorted(found.items()) if value is not None]

    def wrote(self, state: port.State) -> None:
        """Lay `state` over what is there."""
        for place, rows in state.items():
            self.written.setdefault(place, {}).update(rows)


class Rehearsal:
    """Calls one function again and again."""

    def __init__(self, function: AnyFunction, process: Process, reader: TableReader | None = None) -> None:
        """`reader` has the rows to begin with; without it all tables are empty."""
        self.function = function
        self.rows = Rows(reader)
        self._process = process
        self._intake = RawIntake(function) if function.raw else Intake(function, process.registry)
        self._seen: set[int | None] = set()

    async def call(self, records: Sequence[port.Record], *, events: Sequence[Any] | None = None) -> list[Made]:
        """What comes of `records`: one call each, or one of a batch function with all of them.

        `events` are what they hold, where that is known; no filter is asked then.
        """
        if self.function.batch is not None:
            return await self._batch(records, events)
        made = []
        for index, record in enumerate(records):
            made.append(await self._single(record, None if events is None else events[index]))
        return made

    def keep(self, made: Iterable[Made]) -> None:
        """Let the next calls see the rows of `made`, and know its events."""
        for each in made:
            if each.error is None:
                self.rows.wrote(each.rows)
                self._seen.add(digest_of(each.record))

    async def _single(self, record: port.Record, event: Any) -> Made:
        returned = retries.read(record) if record.topic == self.function.retry_topic else retries.Returned(record, 1)
        ctx = Context(self.function, returned.record, self._process, self.rows, returned.attempt)
        result: Any = None
        error: BaseException | None = None
        begun = self._now()
        try:
            if event is None:
                event = await self._event(returned.record)
            if event is None:
                return Made(record=returned.record, event_id=ctx.event_id, skipped=True)
            result = await self._called(event, ctx)
            if self.function.answers and isinstance(result, Event):
                ctx.answer(result)
            return self._made(ctx, result, self._now() - begun)
        except Exception as raised:
            error = raised
        return Made(record=returned.record, event_id=ctx.event_id, error=error, duration_s=self._now() - begun)

    async def _batch(self, records: Sequence[port.Record], events: Sequence[Any] | None) -> list[Made]:
        made: dict[int, Made] = {}
        taken: list[tuple[int, port.Record, Any]] = []
        for index, record in enumerate(records):
            original = retries.read(record).record if record.topic == self.function.retry_topic else record
            event_id = Context(self.function, original, self._process, self.rows).event_id
            try:
                event = events[index] if events is not None else await self._event(original)
            except Exception as error:
                made[index] = Made(record=original, event_id=event_id, error=error)
                continue
            if event is None:
                made[index] = Made(record=original, event_id=event_id, skipped=True)
            else:
                taken.append((index, original, event))
        if taken:
            made.update(await self._batched(taken))
        return [made[index] for index in sorted(made)]

    async def _batched(self, taken: Sequence[tuple[int, port.Record, Any]]) -> dict[int, Made]:
        places = {(record.topic, record.partition) for _, record, _ in taken}
        partitions = {place: Partition(port.TopicPartition(*place), self.rows) for place in places}
        items = [(record, partitions[record.topic, record.partition]) for _, record, _ in taken]
        ctx = BatchContext(self.function, items, self._process)
        result: Any = None
        error: BaseException | None = None
        begun = self._now()
        try:
            result = await self._called([event for _, _, event in taken], ctx)
        except Exception as raised:
            error = raised
        lasted_s = self._now() - begun
        made = {}
        for place, (index, _, _) in enumerate(taken):
            failed = error or ctx.failures.get(place)
            if failed is None:
                try:
                    made[index] = self._made(ctx[place], result, lasted_s)
                    continue
                except Exception as raised:
                    failed = raised
            one = ctx[place]
            made[index] = Made(record=one.record, event_id=one.event_id, error=failed, duration_s=lasted_s)
        return made

    async def _event(self, record: port.Record) -> Any:
        """What `record` holds; None where it is to be skipped. Raises DecodeError."""
        if self.function.delivery == "effectively-once":
            digest = digest_of(record)
            if digest is not None and digest in self._seen:
                return None
        return await schemas.decoded(self._process, functools.partial(self._intake.event, record))

    async def _called(self, event: Any, ctx: Context | BatchContext) -> Any:
        handler, limit_s = self.function.handler, self.function.timeout_s
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                if inspect.iscoroutinefunction(handler):
                    return await handler(event, ctx)
                result = await asyncio.to_thread(handler, event, ctx)
                return await result if inspect.isawaitable(result) else result
        except TimeoutError as error:
            if limit.expired():
                raise invocation.AttemptTimeoutError(f"took longer than timeout_s={limit_s:g}") from error
            raise

    def _made(self, ctx: Context, result: Any, duration_s: float) -> Made:
        emitted, rows = ctx.emitted, ctx.writes()
        return Made(
            record=ctx.record,
            event_id=ctx.event_id,
            emitted=emitted,
            outputs=ctx.outputs()[: len(emitted)],  # a reply comes last
            rows=rows,
            timers=dict(ctx.timers),
            answer=ctx.answered,
            result=result,
            duration_s=duration_s,
        )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
