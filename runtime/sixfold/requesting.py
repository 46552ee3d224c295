"""Request and reply over the log: publish an event, wait for the event that a function returns for it.

A client reads one partition of the reply topic from its end on, and says in a header of what it asks which one that
is. A function that declares `answers=` and returns such an event sends it there, together with its other outputs and
its offset; one that parks the record says that it failed. A reply outlives nobody: who asked and went away never
reads it. Several functions may answer; the first reply counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Self

import structlog

from sixfold import clock as clocks
from sixfold import errors, publisher, replies
from sixfold.bus import ends, port
from sixfold_events import DecodeError, Event, cloudevents
from sixfold_events.registry import Registry
from sixfold_events.system import RequestFailed

TIMEOUT_S = 30.0
RETRY_S = 1.0


class RequestFailedError(errors.SixfoldError):
    """A function could not handle the request; its record is a dead letter there."""


class RequestTimeoutError(errors.SixfoldError, TimeoutError):
    """No reply in time. The request may be handled all the same."""


class Client:
    """Publishes and asks. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        registry: Registry,
        *,
        source: str = "/client",
        clock: clocks.Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`bus` is open; `registry` knows the types of requests and replies."""
        self._bus = bus
        self._registry = registry
        self._source = source
        self._clock = clock or clocks.SystemClock()
        self._partition = (rng or random.SystemRandom()).randrange(replies.TOPIC.partitions)
        self._waiting: dict[str, asyncio.Future[Event]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._publisher = publisher.Publisher(bus, source=source, clock=self._clock)

    async def __aenter__(self) -> Self:
        if replies.TOPIC.name not in await self._bus.topics():
            await self._bus.create_topics([replies.TOPIC])
        started = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(started), name="replies")
        await started
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        for waiting in self._waiting.values():
            waiting.cancel()

    async def publish(self, *events: Event) -> list[port.Position]:
        """As `Publisher.publish`."""
        return await self._publisher.publish(*events)

    async def request(self, event: Event, *, timeout_s: float = TIMEOUT_S) -> Event:
        """Publish `event` and return what a function answers.

        Raises RequestFailedError where the function gave up, RequestTimeoutError after `timeout_s`, and what
        `Bus.publish` raises.
        """
        made = publisher.record_of(event, source=self._source, clock=self._clock)
        identifier = dict(made.headers)["ce_id"].decode()
        headers = [*made.headers, (replies.HEADER, b"%d" % self._partition)]
        waiting: asyncio.Future[Event]
        waiting = self._waiting[identifier] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish(
                    [
                        port.NewRecord(
                            topic=made.topic,
                            value=made.value,
                            key=made.key,
                            headers=headers,
                            timestamp_ms=made.timestamp_ms,
                        )
                    ]
                )
                reply = await waiting
        except TimeoutError:
            raise RequestTimeoutError(
                f"no reply to {event.__event__.type} within {timeout_s:g} s; is a function running that declares "
                f"answers= for it? The request may be handled all the same (event {identifier})"
            ) from None
        finally:
            self._waiting.pop(identifier, None)
        if isinstance(reply, RequestFailed):
            raise RequestFailedError(f"{reply.function} could not handle it: {reply.error_type}: {reply.message}")
        return reply

    async def _read(self, started: asyncio.Future[None]) -> None:
        partition = port.TopicPartition(replies.TOPIC.name, self._partition)
        while True:
            try:
                async with self._bus.assign([partition], start=port.LATEST) as consumer:
                    if not started.done():
                        started.set_result(None)
                    async for records in ends.read_on(consumer):
                        for record in records:
                            self._take(record)
            except port.BusError as error:
                if not started.done():
                    started.set_exception(error)
                    return
                structlog.get_logger().warning("reading replies waits for the bus", action="replies", why=str(error))
                await self._clock.sleep(RETRY_S)

    def _take(self, record: port.Record) -> None:
        waiting = self._waiting.get(cloudevents.attributes_of(record.headers).causation_id)
        if waiting is None or waiting.done():
            return
        try:
            waiting.set_result(self._registry.decode(record.value, record.headers))
        except DecodeError as error:
            waiting.set_exception(error)
