"""Following a topic of state: its events in order, folded in memory, as fresh as the caller asks.

For compacted topics that hold what is (keys, roles), not what happened: several processes each fold them for
themselves. Nothing runs in the background; whoever asks reads what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from sixfold.bus import ends, port
from sixfold.process import Process
from sixfold_events import DecodeError, Event


class Follower:
    """Gives every event of `topic` (of one partition, so that all is in one order) to `apply`, each once."""

    def __init__(
        self,
        process: Process,
        topic: str,
        apply: Callable[[Event], None],
        *,
        stalled_s: float = ends.STALLED_S,
    ) -> None:
        """The bus may give nothing for `stalled_s`; then `catch_up` fails rather than call an old view fresh."""
        self._partition = port.TopicPartition(topic, 0)
        self._bus = process.require_bus()
        self._registry = process.registry
        self._clock = process.clock
        self._apply = apply
        self._stalled_s = stalled_s
        self._consumer: port.Consumer | None = None
        self._lock = asyncio.Lock()
        self._fresh_s = float("-inf")

    async def catch_up(self, *, age_s_max: float = 0.0) -> None:
        """Apply all that was published until now; nothing to do if that was done less than `age_s_max` ago.

        Raises BusUnavailableError where the bus does not give all of it; what it gave is applied, and not fresh.
        """
        if self._clock.monotonic() - self._fresh_s < age_s_max:
            return
        async with self._lock:
            if self._clock.monotonic() - self._fresh_s < age_s_max:
                return
            asked_s = self._clock.monotonic()
            if self._consumer is None:
                consumer = self._bus.assign([self._partition], start=port.EARLIEST)
                self._consumer = await consumer.__aenter__()
            until = await ends.of(self._bus, [self._partition])
            async for records in ends.read_up_to(self._consumer, until, stalled_s=self._stalled_s):
                for record in records:
                    self._take(record)
            self._fresh_s = asked_s

    def _take(self, record: port.Record) -> None:
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
