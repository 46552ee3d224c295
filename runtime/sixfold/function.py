"""Declaring functions: frozen data about a handler, what it consumes and what it may emit.

`@function` touches no registry: it returns a `Function` that can still be called. `app.py` names sets of them,
`worker.py` runs them, `invocation.py` decides what becomes of each record.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from sixfold import errors
from sixfold.bus import port
from sixfold_events import Event

P = ParamSpec("P")
R = TypeVar("R")

Ordering = Literal["partition", "key", "none"]


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


@dataclass(frozen=True, kw_only=True)
class Function(Generic[P, R]):
    """A handler with its declaration. Calling it calls the handler."""

    name: str
    """Its name everywhere: consumer group, logs, metrics, command line. Such as `pipeline.start`."""
    handler: Callable[P, R]
    on: tuple[type[Event], ...]
    """Event types that it consumes."""
    emits: tuple[type[Event], ...] = ()
    """Event types that it may emit; emitting another is refused."""
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
    summary: str = ""
    """First line of the handler's docstring."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that it consumes, each once."""
        return tuple(dict.fromkeys(cls.__event__.topic for cls in self.on))

    @property
    def dead_letter_topic(self) -> str:
        """Topic where records are parked that the function could not handle."""
        return f"{self.name}.dlq"


def function(
    *,
    on: type[Event] | Sequence[type[Event]],
    emits: Sequence[type[Event]] = (),
    name: str | None = None,
    ordering: Ordering = "partition",
    concurrency: int = 1,
    retry: Retry | None = None,
    timeout_s: float = 60.0,
    start: port.Start = port.EARLIEST,
    tables: Sequence[str] = (),
) -> Callable[[Callable[P, R]], Function[P, R]]:
    """Declare a handler `handler(event, ctx)`, async or plain (plain ones run in a thread)::

        @function(on=OrderPlaced, emits=[OrderAccepted])
        async def accept(order: OrderPlaced, ctx: Context) -> None:
            ctx.emit(OrderAccepted(order_id=order.order_id))

    Raises FunctionDefinitionError where the declaration contradicts itself.
    """
    types = (on,) if isinstance(on, type) else tuple(on)

    def declare(handler: Callable[P, R]) -> Function[P, R]:
        full_name = name or handler.__name__.replace("_", "-")
        if not types:
            raise FunctionDefinitionError(f"{full_name}: on= is empty; name the event types that it consumes")
        if concurrency < 1:
            raise FunctionDefinitionError(f"{full_name}: concurrency is {concurrency}, expected 1 or more")
        if tables and ordering != "partition":
            raise FunctionDefinitionError(
                f'{full_name}: tables need ordering="partition", found {ordering!r}: a table has one writer per partition'
            )
        return Function(
            name=full_name,
            handler=handler,
            on=types,
            emits=tuple(emits),
            ordering=ordering,
            concurrency=concurrency,
            retry=retry or Retry(),
            timeout_s=timeout_s,
            start=start,
            tables=tuple(tables),
            summary=(inspect.getdoc(handler) or "").partition("\n")[0],
        )

    return declare


AnyFunction = Function[Any, Any]
Handler = Callable[..., Awaitable[Any] | Any]
