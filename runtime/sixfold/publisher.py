"""Publishing events from outside a function: a bus and the CloudEvents attributes of a source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.telemetry import tracing
from sixfold_events import Event, cloudevents, framing

if TYPE_CHECKING:
    from sixfold.registry.schemas import Schemas


def record_of(
    event: Event,
    *,
    source: str,
    clock: clocks.Clock,
    event_id: str | None = None,
    partition: int | None = None,
    correlation_id: str = "",
    frame: framing.Frame | None = None,
) -> port.NewRecord:
    """`event` as a record to publish, with all its headers; `event_id` is 128 new random bits unless given.

    `frame` says how its schema is named, by its fingerprint if None.
    """
    attributes = cloudevents.Attributes(
        id=event_id or os.urandom(16).hex(),
        type=event.__event__.type,
        source=source,
        time_ms=clocks.now_ms(clock),
        correlation_id=correlation_id,
    )
    message = cloudevents.encode(event, attributes, frame)
    return port.NewRecord(
        topic=message.topic,
        value=message.value,
        key=message.key,
        headers=message.headers,
        partition=partition,
        timestamp_ms=message.timestamp_ms,
    )


class Publisher:
    """Publishes events to `bus` in the name of `source` (a URI reference such as `/cli`)."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        source: str,
        clock: clocks.Clock | None = None,
        schemas: Schemas | None = None,
        spans: tracing.Tracing | None = None,
    ) -> None:
        """With `schemas` (`await process.resources.get(open_schemas)`) events are written as a registry names them.

        `spans` are this process's unless given.
        """
        self._bus = bus
        self._source = source
        self._clock = clock or clocks.SystemClock()
        self._schemas = schemas
        self._tracing = spans or tracing.current()

    async def publish(self, *events: Event, correlation_id: str = "") -> list[port.Position]:
        """Store events durably, in the given order within each partition."""
        frames: dict[type[Event], framing.Frame | None] = {}
        if self._schemas is not None:
            frames = {cls: await self._schemas.frame(cls) for cls in {type(event) for event in events}}
        return await self.publish_records(
            [
                record_of(
                    event,
                    source=self._source,
                    clock=self._clock,
                    correlation_id=correlation_id,
                    frame=frames.get(type(event)),
                )
                for event in events
            ]
        )

    async def publish_records(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        """Store ready-made records durably."""
        if self._tracing is None:
            return await self._bus.publish(records)
        with self._tracing.sending(records, tracing.system_of(self._bus.url)) as traced:
            return await self._bus.publish(traced)
