"""Announcing what is durable on `volume.durable`: results of append requests at once, a mere advance where nothing else
tells it.

Each batch of redo tells what is durable, so while appends come an announcement is needed now and then only. After the
last one for a while replicas wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.volume import VolumeDurableAdvanced
from sixfold_functions.volume import topics

QUIET_S = 0.1
"""While batches tell the durable LSN, an advance without results is announced this often; nobody waits for it."""
SOON_S = 0.003
"""An advance that no batch has told within this time is announced. A client that appends again at its acknowledgement
is faster, and then one record to the six copies says it and no announcement is needed."""
RESULTS_MAX = 2000
"""Results in one announcement, well below a record's limit."""


class Result(NamedTuple):
    """What became of an append request."""

    request_id: str
    first_lsn: int
    last_lsn: int
    error: str = ""


class Announcer:
    """Gathers results and publishes them in order. `run` is a task of the writer."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        volume: str,
        topic: str,
        source: str,
        clock: clocks.Clock,
        state: Callable[[], tuple[int, int, int, int]],
        told: Callable[[], bool],
    ) -> None:
        self._bus = bus
        self._volume = volume
        self._topic = topic
        self._source = source
        self._clock = clock
        self._state = state
        """Epoch, VDL, the append offset below which every request has its result, and when the VDL rose, as of now."""
        self._told = told
        """Whether a batch has told the VDL."""
        self._results: list[Result] = []
        self._announced = (0, 0, 0, 0)
        self._due = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None

    def add(self, results: list[Result]) -> None:
        """Announce these with the next record."""
        self._results.extend(results)
        self._due.set()

    def advanced(self) -> None:
        """The VDL rose: it is announced soon, unless a batch tells it by then."""
        if self._soon is None and not self._told():
            self._soon = asyncio.get_running_loop().call_later(SOON_S, self._look)

    def _look(self) -> None:
        self._soon = None
        if not self._told():
            self._due.set()

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            await self.flush()

    async def flush(self) -> None:
        """Publish what is new: all results, and the state as it is then."""
        if not self._results and self._state() == self._announced:
            return
        while True:
            results = self._results[:RESULTS_MAX]
            state = self._state()
            epoch, durable_lsn, append_offset, at_ms = state
            if len(results) < len(self._results):
                # The rest follows; a successor must not take its offset or LSN for announced.
                _, durable_lsn, append_offset, at_ms = self._announced
            event = VolumeDurableAdvanced(
                volume=self._volume,
                epoch=epoch,
                durable_lsn=durable_lsn,
                append_offset=append_offset,
                request_ids=[result.request_id for result in results],
                first_lsns=[result.first_lsn for result in results],
                last_lsns=[result.last_lsn for result in results],
                errors=[result.error for result in results],
                durable_at_ms=at_ms,
            )
            record = publisher.record_of(event, source=self._source, clock=self._clock, partition=0)
            try:
                await self._bus.publish([topics.moved(record, self._topic)])
            except port.BusError as error:
                structlog.get_logger().warning(
                    "the bus does not take an announcement", action="volume.announce.failed", error=str(error)
                )
                await self._clock.sleep(topics.BUS_RETRY_S)
                continue
            del self._results[: len(results)]
            self._announced = (epoch, durable_lsn, append_offset, at_ms)
            if not self._results:
                return
