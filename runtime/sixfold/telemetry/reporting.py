"""What a process says of its functions: their counters as an event on a compacted topic, keyed by the process.

The gateway folds the newest report of each process into its metrics page, so no process needs a port of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

import structlog

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold.process import Process
from sixfold.telemetry.counters import BATCH_BOUNDS, BOUNDS_S, Counters
from sixfold_events.system import ProcessReported

TOPIC = port.TopicSpec(
    name=ProcessReported.__event__.topic, partitions=1, cleanup=port.Cleanup.COMPACT, retention_ms=None
)
INTERVAL_S = 5.0
"""A third of Prometheus' usual scrape interval."""
HEARTBEAT_S = 20.0
"""A process that reports nothing for three times as long is taken for gone (`gateway/functions.py`)."""


class Reporter:
    """Publishes `ProcessReported` when counters changed, at most every `interval_s`, and every `HEARTBEAT_S` anyway."""

    def __init__(
        self,
        process: Process,
        counters: Sequence[Counters],
        *,
        refresh: Callable[[], None] = lambda: None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._process = process
        self._counters = counters
        self._refresh = refresh
        self._interval_s = interval_s
        self._started_at_ms = clocks.now_ms(process.clock)
        self._publisher = publisher.Publisher(
            process.require_bus(), source=f"/processes/{process.name}", clock=process.clock
        )
        self._last: ProcessReported | None = None
        self._last_s = 0.0

    async def run(self) -> None:
        """Report until cancelled; where the bus does not take a report, the next one has it all."""
        while True:
            with contextlib.suppress(port.BusError):
                await self.report()
            await self._process.clock.sleep(self._interval_s)

    async def finish(self, within_s: float = 2.0) -> None:
        """Report for the last time: the process was stopped in order."""
        try:
            await asyncio.wait_for(self.report(stopped=True), within_s)
        except (TimeoutError, port.BusError) as error:
            structlog.get_logger().info("the last report was not taken", action="report.missed", why=str(error))

    async def report(self, *, stopped: bool = False) -> None:
        """Report now, unless nothing changed since the last time and that was not long ago."""
        self._refresh()
        functions = [each.report() for each in self._counters]
        now = self._process.clock.monotonic()
        last = self._last
        same = last is not None and last.functions == functions and last.stopped == stopped
        if same and now - self._last_s < HEARTBEAT_S:
            return
        event = ProcessReported(
            process=self._process.name,
            pid=os.getpid(),
            started_at_ms=self._started_at_ms,
            reported_at_ms=clocks.now_ms(self._process.clock),
            stopped=stopped,
            duration_bounds_s=list(BOUNDS_S),
            batch_bounds=list(BATCH_BOUNDS),
            functions=functions,
        )
        await self._publisher.publish(event)
        self._last, self._last_s = event, now
