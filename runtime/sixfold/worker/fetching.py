"""Fetching: keeps handlers supplied, and no more than that.

Fetched records that are not done are the backlog. At its limit nothing is fetched for a moment; where that brings
no room, the partitions that hold the most are paused (they wait for a retry, or the handler is slow), so that the
others go on. The bus is asked at least twice a second whatever happens: Kafka takes a silent member for dead.

While there is more than a fetch takes, the functions of a process fetch in turn, and the handlers of one begin before
the next one fetches: records are handled while the processor's cache has them, and their memory is used again at once.
Were all of fifty functions' records made first and handled then, an event would cost a half more (measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.process import Process
from sixfold.worker.limits import Limits
from sixfold.worker.partition import Partition

ROOM_WAIT_S = 0.05
"""A busy handler makes room within this; one that does not is slow or waits for a retry."""
PAUSED_WAIT_S = 0.1
"""How long a fetch waits while partitions are paused, since one may be resumed meanwhile."""


class Turn:
    """Whose fetch it is among the functions of a process; one for all, by `process.resources.get(Turn)`."""

    def __init__(self, process: Process) -> None:
        self.lock = asyncio.Lock()


class Fetcher:
    """Fetches for one worker; `run` is its loop."""

    def __init__(
        self,
        function: str,
        consumer: port.Consumer,
        clock: clocks.Clock,
        limits: Limits,
        take_in: Callable[[Partition, Sequence[port.Record]], None],
    ) -> None:
        self.partitions: dict[port.TopicPartition, Partition] = {}
        """The partitions that are this worker's now."""
        self.began = False
        """Whether a fetch has come back, with records or without: what was assigned at first is known."""
        self.returned = 0
        """Fetches that came back, well or not; a fetch that hangs leaves it as it is."""
        self.away = False
        """The last fetch found no bus."""
        self._function = function
        self._consumer = consumer
        self._clock = clock
        self._limits = limits
        self._take_in = take_in
        self._progress = asyncio.Event()
        self._paused: set[Partition] = set()

    async def run(self, turn: Turn) -> None:
        """Fetch until cancelled. Raises what `port.Consumer.fetch` raises, but waits where there is no bus."""
        failures, more = 0, False
        log = structlog.get_logger().bind(function=self._function)
        while True:
            self._resume()
            if not self._room():
                await self._wait_for_room()
            try:
                if more:
                    async with turn.lock:
                        more = await self._fetch(0.0)
                        await asyncio.sleep(0)  # wakes the runners of the lanes,
                        await asyncio.sleep(0)  # and lets them handle what they got
                else:
                    more = await self._fetch(PAUSED_WAIT_S if self._paused else self._limits.fetch_wait_s)
            except port.BusUnavailableError as error:
                failures += 1
                self.returned += 1
                self.away = True
                if failures == 1:
                    log.warning("fetching waits for the bus", action="fetch.waiting", why=str(error))
                wait_s = self._limits.bus_backoff_s * 2.0 ** min(failures - 1, 20)
                await self._clock.sleep(min(wait_s, self._limits.bus_backoff_max_s))
                continue
            self.began, self.away = True, False
            self.returned += 1
            if failures:
                log.info("the bus is back", action="fetch.resumed", attempts=failures + 1)
                failures = 0

    async def _fetch(self, wait_s: float) -> bool:
        """Fetch once; whether there was as much as a fetch takes, so probably more."""
        limit, count = self._limits.fetch_records_max, 0
        for tp, records in (await self._consumer.fetch(records_max=limit, wait_s=wait_s)).items():
            count += len(records)
            partition = self.partitions.get(tp)
            if partition is not None and partition.accepting:
                self._take_in(partition, partition.take_in(records))
        return count >= limit

    def progressed(self) -> None:
        """Handlers have made some room."""
        self._progress.set()

    def _room(self) -> bool:
        records = size = 0
        for partition in self.partitions.values():
            if not partition.paused:
                records += partition.backlog_records
                size += partition.backlog_bytes
                if partition.watermark.span >= self._limits.span_records_max:
                    return False
        return records < self._records_max() and size < self._limits.backlog_bytes_max

    def _records_max(self) -> int:
        return self._limits.backlog_records_max + self._limits.gathering_records_max * len(self.partitions)

    async def _wait_for_room(self) -> None:
        deadline = asyncio.get_running_loop().time() + ROOM_WAIT_S
        while not self._room():
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), deadline - asyncio.get_running_loop().time())
            except TimeoutError:
                self._pause()
                return

    def _pause(self) -> None:
        """Pause the partitions with more than their share of the backlog; at the limit that is one at least."""
        share = 1 / (len(self.partitions) + 1)
        held = self._consumer.assignment()
        for tp, partition in self.partitions.items():
            if tp in held and not partition.paused and self._fill(partition) > share:
                partition.paused = True
                self._paused.add(partition)
                self._consumer.pause([tp])

    def _resume(self) -> None:
        held = self._consumer.assignment() if self._paused else frozenset()
        for partition in list(self._paused):
            if not partition.accepting or self._fill(partition) <= 0.5 / (len(self.partitions) + 1):
                partition.paused = False
                self._paused.discard(partition)
                if partition.accepting and partition.tp in held:
                    self._consumer.resume([partition.tp])

    def _fill(self, partition: Partition) -> float:
        """How much of the whole backlog's limit this partition takes, by the measure that is fullest."""
        return max(
            partition.backlog_records / self._records_max(),
            partition.backlog_bytes / self._limits.backlog_bytes_max,
            partition.watermark.span / self._limits.span_records_max,
        )
