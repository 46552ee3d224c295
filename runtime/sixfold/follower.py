"""Following a topic of state: its events in order, folded in memory, as fresh as the caller asks.

For compacted topics that hold what is (keys, roles), not what happened: several processes each fold them for
themselves. Nothing runs in the background; whoever asks reads what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from sixfold.bus import port
from sixfold.process import Process
from sixfold_events import DecodeError, Event


class Follower:
    """Gives every event of `topic` (of one partition, so that all is in one order) to `apply`, each once."""

    def __init__(self, process: Process, topic: str, apply: Callable[[Event], None]) -> None:
        self._partition = port.TopicPartition(topic, 0)
        self._bus = process.require_bus()
        self._registry = process.registry
        self._clock = process.clock
        self._apply = apply
        self._consumer: port.Consumer | None = None
        self._lock = asyncio.Lock()
        self._next = 0
        self._fresh_s = float("-inf")

    async def catch_up(self, *, age_s_max: float = 0.0) -> None:
        """Apply all that was published until now; nothing to do if that was done less than `age_s_max` ago."""
        if self._clock.monotonic() - self._fresh_s < age_s_max:
            return
        async with self._lock:
            if self._clock.monotonic() - self._fresh_s < age_s_max:
                return
            asked_s = self._clock.monotonic()
            if self._consumer is None:
                consumer = self._bus.assign([self._partition], start=port.EARLIEST)
                self._consumer = await consumer.__aenter__()
            end = (await self._bus.offsets(self._partition)).end
            while self._next < end:
                fetched = await self._consumer.fetch(wait_s=0.5)
                for record in fetched.get(self._partition, ()):
                    self._take(record)
                if not fetched:
                    # The rest are a transaction's markers or were compacted away: nothing there to read.
                    self._next = end
            self._fresh_s = asked_s

    def _take(self, record: port.Record) -> None:
        self._next = record.offset + 1
        if record.value is None:
            return
        try:
            self._apply(self._registry.decode(record.value, record.headers))
        except (DecodeError, ValueError) as error:
            structlog.get_logger().error(
                "a record of a state topic was passed over",
                action="follower.skipped",
                topic=record.topic,
                offset=record.offset,
                reason=str(error),
            )

    async def close(self) -> None:
        """Stop following."""
        if self._consumer is not None:
            await self._consumer.__aexit__(None, None, None)
            self._consumer = None
