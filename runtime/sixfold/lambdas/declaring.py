"""Making a `Function` of a handler in Lambda's shape: `handler(event, context)`, async or plain.

The worker gives it batches of raw records, which become Lambda's Kafka event; its answer says which of them failed.
"""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from sixfold import filters
from sixfold.bus import port
from sixfold.function import Batch, Function, FunctionDefinitionError, Ordering, Retry, StartName, check, start_of
from sixfold.lambdas import answers, events
from sixfold.lambdas.context import LambdaContext
from sixfold.process import Process
from sixfold.worker.batch_context import BatchContext

Code = Callable[[Any, Any], Any]
"""A handler as AWS calls it."""
BATCH = Batch(bytes_max=4_400_000)
"""Lambda's 6 MB of payload, less the third that base64 adds to keys and values."""
MEMORY_MB = 128
"""Lambda's default. A figure in the context; nothing holds a handler to it."""


@dataclass(frozen=True, kw_only=True)
class LambdaFunction(Function[Any, Any]):
    """A `Function` whose `handler` calls `code` with Lambda's arguments. Calling it calls `code`."""

    code: Code
    memory_mb: int = MEMORY_MB

    @property
    def module(self) -> str:
        return self.code.__module__

    def __call__(self, event: Any, context: Any) -> Any:
        return self.code(event, context)


def lambda_function(
    handler: Code,
    *,
    topics: str | Sequence[str] = (),
    name: str | None = None,
    batch: Batch = BATCH,
    filter: filters.Pattern | Sequence[filters.Pattern] = (),  # noqa: A002 (Lambda's word for it)
    retry: Retry | None = None,
    start: port.Start | StartName | datetime.datetime = port.EARLIEST,
    timeout_s: float = 60.0,
    ordering: Ordering = "partition",
    concurrency: int = 1,
    on_failure: str | None = None,
    cpu_bound: bool = False,
    report_failures: bool = True,
    memory_mb: int = MEMORY_MB,
) -> LambdaFunction:
    """The function that calls `handler(event, context)` for the records of `topics`, whatever bytes they hold::

        orders = lambda_function(handler, topics=["orders"], batch=Batch(size=100))

    `name` is `module.handler` unless given, as AWS names a handler. Without topics it is only invoked. With
    `report_failures` the answer follows `answers.py`; without, only an error is a failure, as with a Lambda event
    source whose FunctionResponseTypes is empty. A batch that fails at its last attempt is parked from its first failed
    record on; with `Batch(bisect=True)` it is halved until the record that fails is alone. `cpu_bound` runs plain
    handlers in processes of their own. Raises FunctionDefinitionError where this contradicts itself.
    """
    if not callable(handler) or not _takes_two(handler):
        raise FunctionDefinitionError(f"expected a callable handler(event, context), found {handler!r}")
    chosen = (
        name
        or f"{handler.__module__.rpartition('.')[2]}.{getattr(handler, '__name__', type(handler).__name__)}".replace(
            "_", "-"
        )
    )
    call = _Call(handler, chosen, timeout_s, memory_mb, report_failures, batch.bisect)
    made = LambdaFunction(
        name=chosen,
        code=handler,
        memory_mb=memory_mb,
        handler=call.asynchronous if inspect.iscoroutinefunction(handler) else call.plain,
        on=(),
        raw=(topics,) if isinstance(topics, str) else tuple(topics),
        batch=batch,
        filter=(filter,) if isinstance(filter, Mapping) else tuple(filter),
        retry=retry or Retry(),
        start=start_of(start),
        timeout_s=timeout_s,
        ordering=ordering,
        concurrency=concurrency,
        on_failure=on_failure,
        cpu_bound=cpu_bound,
        summary=(inspect.getdoc(handler) or "").partition("\n")[0],
    )
    check(made)
    return made


def mapped(
    function: LambdaFunction,
    *,
    group: str,
    topic: str,
    batch: Batch,
    filter: tuple[filters.Pattern, ...],  # noqa: A002 (Lambda's word for it)
    retry: Retry,
    start: port.Start,
    on_failure: str,
    report_failures: bool,
    concurrency: int,
) -> LambdaFunction:
    """`function` for the records of `topic`, as the consumer group `group`; its handler sees its own name."""
    call = _Call(function.code, function.name, function.timeout_s, function.memory_mb, report_failures, batch.bisect)
    return dataclasses.replace(
        function,
        name=group,
        raw=(topic,),
        handler=call.asynchronous if inspect.iscoroutinefunction(function.code) else call.plain,
        batch=batch,
        filter=filter,
        retry=retry,
        start=start,
        on_failure=on_failure,
        concurrency=concurrency,
    )


def _takes_two(handler: Code) -> bool:
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # written in C: nobody can tell
        return True
    return True


@dataclass(frozen=True)
class _Call:
    """One handler's calls. It can be pickled where the handler can, so that a process of its own may run it."""

    code: Code
    name: str
    timeout_s: float
    memory_mb: int
    report_failures: bool
    bisect: bool

    def plain(self, records: Sequence[port.Record], ctx: BatchContext) -> None:
        """Call a plain handler with a batch."""
        self._told(self.code(*self._arguments(records, ctx)), ctx)

    async def asynchronous(self, records: Sequence[port.Record], ctx: BatchContext) -> None:
        """Call an async handler with a batch."""
        self._told(await self.code(*self._arguments(records, ctx)), ctx)

    def _arguments(self, records: Sequence[port.Record], ctx: BatchContext) -> tuple[dict[str, Any], LambdaContext]:
        event = events.kafka_event(records, events.bootstrap_servers(ctx.process.bus_url))
        return event, context_of(self.name, self.timeout_s, self.memory_mb, ctx.process, str(uuid.uuid4()))

    def _told(self, answer: Any, ctx: BatchContext) -> None:
        """What the answer says failed. Raises MalformedAnswerError where that is the whole batch."""
        if not self.report_failures:
            return
        try:
            failed = answers.failures(answer, ctx.records)
        except answers.MalformedAnswerError as error:
            structlog.get_logger().error(
                "a handler's answer cannot be read, so its whole batch has failed",
                action="lambda.malformed_answer",
                function=self.name,
                records=len(ctx),
                why=str(error),
            )
            raise
        if self.bisect and len(failed) == len(ctx) > 1:
            raise failed[0]  # no record was got past: the batch is halved, to find the one at fault
        for index, failure in failed.items():
            ctx.fail(index, failure)


def context_of(
    name: str, timeout_s: float, memory_mb: int, process: Process, request_id: str, client_context: Any = None
) -> LambdaContext:
    """The context of a call that begins now."""
    day = datetime.datetime.fromtimestamp(process.clock.now(), datetime.UTC).strftime("%Y/%m/%d")
    return LambdaContext(
        name,
        request_id=request_id,
        memory_mb=memory_mb,
        timeout_s=timeout_s,
        monotonic=process.clock.monotonic,
        log_stream=f"{day}/[$LATEST]{process.name}-{os.getpid()}",
        client_context=client_context,
    )
