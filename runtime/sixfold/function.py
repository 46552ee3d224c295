"""Declaring functions: frozen data about a handler, what it consumes and what it may emit.

`@function` touches no registry: it returns a `Function` that can still be called. `app.py` names sets of them,
`worker/member.py` runs them, `worker/invocation.py` decides what becomes of each record.
"""

from __future__ import annotations

import datetime
import fnmatch
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_args

from sixfold import cadence, errors, filters, patterns, timers
from sixfold.breaker import Breaker
from sixfold.bus import port
from sixfold_events import Event
from sixfold_events.system import Tick

DERIVED = (".dlq", ".retry", ".changelog")
"""Ends of the names of topics that belong to a function; no pattern matches them."""
DEDUPE_S = 300.0
"""Five minutes, the deduplication interval of SQS's FIFO queues."""
SEEN_TABLE = "sixfold-seen"
"""Where `worker/seen.py` keeps the ids of handled events; functions cannot declare it."""
P = ParamSpec("P")
R = TypeVar("R")

Ordering = Literal["partition", "key", "none"]
Delivery = Literal["at-least-once", "effectively-once", "exactly-once"]
StartName = Literal["earliest", "latest"]


class FunctionDefinitionError(errors.SixfoldError, TypeError):
    """A function declares something that cannot work; the message names the function and the mend."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often and when a failed record is tried again before it is parked in the dead-letter topic."""

    attempts_max: int = 10
    """Attempts in all, the first included. Ten, as Lambda caps Kafka sources that have an on-failure destination."""
    backoff_s: float = 0.2
    """Wait before the second attempt; it doubles with each further one."""
    backoff_max_s: float = 30.0
    """The longest wait between two attempts."""
    jitter: float = 0.2
    """Each wait is drawn from the computed one plus or minus this share, so that failures do not retry in step."""
    mode: Literal["block", "topic"] = "block"
    """While a record waits for its next attempt, `block`: what must stay in order waits behind it; `topic`: it waits
    elsewhere, comes back through the topic `NAME.retry`, and those behind it go on."""
    age_max_s: float | None = None
    """A record older than this, by its timestamp, is parked rather than tried (again); None is no limit."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """How many records one call of the handler gets, as in Lambda's event source mappings.

    A batch is handed over when it has `size` records or `bytes_max` bytes, or `window_s` after its first record came.
    """

    size: int = 100
    """1 to 10,000, as Lambda's BatchSize."""
    window_s: float = 0.5
    """0 to 300; Lambda's default for Kafka is 500 ms. 0 takes what is there."""
    bytes_max: int = 6_000_000
    """Keys, values and headers; Lambda's payload limit. A single record may be larger."""
    bisect: bool = False
    """After a failure try the two halves apart, so that one bad record fails alone; as BisectBatchOnFunctionError."""


@dataclass(frozen=True, kw_only=True, eq=False)  # each is itself: what it declares may hold dictionaries
class Function(Generic[P, R]):
    """A handler with its declaration. Calling it calls the handler."""

    name: str
    """Its name everywhere: consumer group, logs, metrics, command line. Such as `pipeline.start`."""
    handler: Callable[P, R]
    on: tuple[type[Event], ...]
    """Event types that it consumes."""
    raw: tuple[str, ...] = ()
    """Topics whose records it is given as they are (`port.Record`), whatever bytes they hold; then `on` is empty."""
    emits: tuple[type[Event], ...] = ()
    """Event types that it may emit; emitting another is refused."""
    answers: tuple[type[Event], ...] = ()
    """Event types that its handler may return to whoever asked; see `requesting.py`."""
    topic_patterns: tuple[str, ...] = ()
    """With them it consumes its event types from all topics that match, instead of the types' own; `*` is any text."""
    ordering: Ordering = "partition"
    """What stays in order: a partition's records, the records of one key, or nothing."""
    concurrency: int = 1
    """Handlers that run at once per worker, across all its partitions; with `ordering="partition"` one a partition."""
    retry: Retry = field(default_factory=Retry)
    timeout_s: float = 60.0
    """One attempt may take this long; then it is cancelled and counts as failed."""
    start: port.Start = port.EARLIEST
    """Where a group that has committed nothing begins."""
    tables: tuple[str, ...] = ()
    """Tables that `ctx.table` may open; they need `ordering="partition"`."""
    standby: bool = False
    """On Kafka each worker copies in the background the rows of partitions that others own, so that it takes them over
    warm: it reads only what came within some seconds. On the embedded bus it does nothing, as state lies in the log."""
    batch: Batch | None = None
    """With it the handler is `handler(events, ctx)` for several records at once; see `sixfold.BatchContext`."""
    filter: tuple[filters.Pattern, ...] = ()
    """Patterns, one of which a record must match; see `filters.py`. None: every record."""
    breaker: Breaker | None = None
    """Leaves a dependency in peace while it is down; see `breaker.py`."""
    on_failure: str | None = None
    """Topic where records are parked that the function could not handle; None is `NAME.dlq`."""
    cpu_bound: bool = False
    """A plain handler runs in `concurrency` processes of its own, which a timeout kills, instead of threads."""
    delivery: Delivery = "at-least-once"
    """What a crash or an event that comes twice may do. `at-least-once`: a record may be handled again, and emits the same
    event ids then. `effectively-once`: events whose source and id were handled within `dedupe_s` are passed over.
    `exactly-once`: outputs, rows and offset are one transaction, also on Kafka, for readers of committed records."""
    dedupe_s: float = DEDUPE_S
    """With `effectively-once`: how long events are known at least, or until 2 million newer ones of the same partition
    number. Each takes eight bytes of memory."""
    every: cadence.Cadence | None = None
    """With it the handler is called by the clock, too, with a `Tick`."""
    summary: str = ""
    """First line of the handler's docstring."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    @property
    def module(self) -> str:
        """Name of the module that its handler was written in."""
        return self.handler.__module__

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that it consumes, each once; empty where patterns say which."""
        if self.topic_patterns:
            return ()
        return tuple(dict.fromkeys((*(cls.__event__.topic for cls in self.on), *self.raw)))

    @property
    def retry_topic(self) -> str:
        """Topic through which records come back to it alone: retries that do not wait in place, redriven dead letters.

        With `Retry(mode="block")` it exists only once something was redriven.
        """
        return f"{self.name}.retry"

    @property
    def defers(self) -> bool:
        """Whether records that failed wait elsewhere for their next attempt."""
        return self.retry.mode == "topic"

    @property
    def sources(self) -> tuple[str, ...]:
        """All that its consumer group reads from the start: its topics, and its retry topic where it defers."""
        return (*self.topics, self.retry_topic) if self.defers else self.topics

    def sources_among(self, names: Collection[str]) -> tuple[str, ...]:
        """`sources`, its retry topic if it is among `names`, and those that its patterns match.

        Dead letters and the like never match.
        """
        found = [
            name
            for name in sorted(names)
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.topic_patterns)
            and not name.endswith(DERIVED)
            and name != self.on_failure
        ]
        if not self.defers and self.retry_topic in names:
            found.append(self.retry_topic)
        return (*found, *self.sources)

    @property
    def dead_letter_topic(self) -> str:
        """Topic where records are parked that the function could not handle."""
        return self.on_failure or f"{self.name}.dlq"


def function(
    *,
    on: type[Event] | Sequence[type[Event]] = (),
    emits: Sequence[type[Event]] = (),
    answers: type[Event] | Sequence[type[Event]] = (),
    topics: str | Sequence[str] = (),
    name: str | None = None,
    ordering: Ordering = "partition",
    concurrency: int = 1,
    retry: Retry | None = None,
    timeout_s: float = 60.0,
    start: port.Start | StartName | datetime.datetime = port.EARLIEST,
    tables: Sequence[str] = (),
    standby: bool = False,
    batch: Batch | None = None,
    filter: filters.Pattern | Sequence[filters.Pattern] = (),  # noqa: A002 (Lambda's word for it)
    breaker: Breaker | None = None,
    on_failure: str | None = None,
    cpu_bound: bool = False,
    delivery: Delivery | None = None,
    dedupe_s: float = DEDUPE_S,
    every: str | datetime.timedelta | cadence.Cadence | None = None,
) -> Callable[[Callable[P, R]], Function[P, R]]:
    """Declare a handler `handler(event, ctx)`, async or plain (plain ones run in a thread)::

        @function(on=OrderPlaced, emits=[OrderAccepted])
        async def accept(order: OrderPlaced, ctx: Context) -> None:
            ctx.emit(OrderAccepted(order_id=order.order_id))

    A handler may return an event of a type in `answers`: it goes to whoever asked by `Client.request`. `topics` are patterns such as "orders.*": the event types are then read from every topic that matches, also from ones
    that are made later. `cpu_bound` runs plain ones in processes; such a function is defined at the top level of its module, and has no tables.
    `standby` keeps copies of the other workers' rows on each worker's disk, for short takeovers on Kafka (Kafka Streams'
    standby replicas); on the embedded bus it is accepted and does nothing.
    `delivery` is "effectively-once" by default where there is state that an event handled twice would spoil (`tables`), and
    "at-least-once" elsewhere: what such a function emits for the same event has the same ids, and whoever keeps state
    knows them.
    `every` calls it by the clock, with a `Tick`: a cron expression in UTC, a `timedelta`, or a `Cron` with a time zone.
    `start` is where a group that has committed nothing begins: "earliest", "latest", or a time with a zone. Raises
    FunctionDefinitionError where the declaration contradicts itself.
    """
    types = (on,) if isinstance(on, type) else tuple(on)
    if every is not None and Tick not in types:
        types = (*types, Tick)

    def declare(handler: Callable[P, R]) -> Function[P, R]:
        made = Function(
            name=name or handler.__name__.replace("_", "-"),
            handler=handler,
            on=types,
            emits=tuple(emits),
            answers=(answers,) if isinstance(answers, type) else tuple(answers),
            topic_patterns=(topics,) if isinstance(topics, str) else tuple(topics),
            ordering=ordering,
            concurrency=concurrency,
            retry=retry or Retry(),
            timeout_s=timeout_s,
            start=start_of(start),
            tables=tuple(tables),
            standby=standby,
            batch=batch,
            filter=(filter,) if isinstance(filter, Mapping) else tuple(filter),
            breaker=breaker,
            on_failure=on_failure,
            cpu_bound=cpu_bound,
            delivery=delivery or ("effectively-once" if tables else "at-least-once"),
            dedupe_s=dedupe_s,
            every=_cadence(every),
            summary=(inspect.getdoc(handler) or "").partition("\n")[0],
        )
        if not types:
            raise FunctionDefinitionError(f"{made.name}: on= is empty; name the event types that it consumes")
        check(made)
        return made

    return declare


def start_of(start: port.Start | StartName | datetime.datetime) -> port.Start:
    """A declaration's `start=` as the bus takes it. Raises FunctionDefinitionError."""
    if isinstance(start, port.Start):
        return start
    if isinstance(start, datetime.datetime):
        if start.tzinfo is None:
            raise FunctionDefinitionError(f"start={start.isoformat()} has no time zone; add one, such as datetime.UTC")
        return port.Start("timestamp", round(start.timestamp() * 1000))
    names = {"earliest": port.EARLIEST, "latest": port.LATEST}
    if start not in names:
        raise FunctionDefinitionError(f'start={start!r}, expected "earliest", "latest" or a datetime with a zone')
    return names[start]


def _cadence(every: str | datetime.timedelta | cadence.Cadence | None) -> cadence.Cadence | None:
    try:
        return None if every is None else cadence.of(every)
    except cadence.CadenceError as error:
        raise FunctionDefinitionError(f"every: {error}") from error


def check(function: Function[Any, Any]) -> None:
    """Raise FunctionDefinitionError where a declaration contradicts itself."""
    name, batch = function.name, function.batch
    if function.concurrency < 1:
        raise FunctionDefinitionError(f"{name}: concurrency is {function.concurrency}, expected 1 or more")
    for taken in {timers.TABLE, SEEN_TABLE} & set(function.tables):
        raise FunctionDefinitionError(f"{name}: the table name {taken!r} is taken; choose another")
    if function.cpu_bound and (inspect.iscoroutinefunction(function.handler) or function.tables):
        raise FunctionDefinitionError(
            f"{name}: cpu_bound=True needs a plain handler (def, not async def) and no tables: it runs in another process"
        )
    if function.delivery not in get_args(Delivery):
        raise FunctionDefinitionError(
            f"{name}: delivery={function.delivery!r}, expected one of {', '.join(get_args(Delivery))}"
        )
    if function.dedupe_s < 1:
        raise FunctionDefinitionError(f"{name}: dedupe_s is {function.dedupe_s:g}, expected 1 or more seconds")
    if function.delivery == "effectively-once" and function.ordering == "none":
        raise FunctionDefinitionError(
            f'{name}: delivery="effectively-once" needs ordering "partition" or "key": two deliveries of one event must '
            "not run side by side"
        )
    if function.tables and function.retry.mode == "topic":
        raise FunctionDefinitionError(
            f'{name}: tables need Retry(mode="block"): a table is a fold of its records in order, and records that come '
            "back through a retry topic are out of it"
        )
    if function.tables and function.ordering != "partition":
        raise FunctionDefinitionError(
            f'{name}: tables need ordering="partition", found {function.ordering!r}: a table has one writer per partition'
        )
    if function.standby and not (function.tables or function.delivery == "effectively-once"):
        raise FunctionDefinitionError(
            f'{name}: standby=True needs tables=[…] (or delivery="effectively-once", which keeps ids in one): without '
            "rows there is nothing to copy"
        )
    if batch is not None and not (1 <= batch.size <= 10_000 and 0 <= batch.window_s <= 300 and batch.bytes_max >= 1):
        raise FunctionDefinitionError(
            f"{name}: {batch}: expected size 1 to 10,000, window_s 0 to 300, and bytes_max 1 or more"
        )
    if function.on_failure is not None and function.on_failure in function.topics:
        raise FunctionDefinitionError(
            f"{name}: on_failure={function.on_failure!r} is a topic that it consumes: a record that cannot be handled "
            "would come back for ever; name another"
        )
    try:
        filters.Filter(function.filter)
    except patterns.PatternError as error:
        raise FunctionDefinitionError(f"{name}: filter: {error}") from error


AnyFunction = Function[Any, Any]
Handler = Callable[..., Awaitable[Any] | Any]
