"""Sending redo to the copies' partitions so that a dead zone never holds up the others.

As long as the bus takes everything, each batch goes out as a record a copy in one publish call. Once a call hangs or
fails (a zone's broker is gone), every copy gets a lane of its own: a bounded queue and one call at a time. A lane
that is full drops what comes; its copy then has a gap, which is repaired later. When all lanes have run empty, calls
are joint again.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.cloudevents import Header
from sixfold_functions.volume.core.membership import FIRST, Membership
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX

CALLS_MAX = 2
"""Joint calls under way: one is being made durable while the next is gathered. More only makes batches smaller."""
STALL_S = 3.0
"""A call that takes longer than this is a sign that a partition's leader is away."""
LANE_BYTES_MAX = 32 * 1024 * 1024
RETRY_S = 0.2


class Parcel(NamedTuple):
    """An encoded event, the same for every copy."""

    value: bytes
    headers: Sequence[Header]


class _Lane:
    """One copy's queue."""

    def __init__(self) -> None:
        self.queue: collections.deque[Parcel] = collections.deque()
        self.queue_bytes = 0
        self.task: asyncio.Task[None] | None = None
        self.dropped = 0


class Sender:
    """Sends parcels to copies. `has_room` says whether more may be sent now; `on_room` is called when it may again."""

    def __init__(self, bus: port.Bus, topic: str, key: bytes, *, clock: clocks.Clock) -> None:
        self._bus = bus
        self._topic = topic
        self._key = key
        self._clock = clock
        self._calls: dict[asyncio.Task[None], float] = {}
        self._lanes: dict[str, _Lane] = {}
        self._joint = True
        self._closed = False
        self._log = structlog.get_logger()
        self.on_room: Callable[[], None] = lambda: None
        self.on_fatal: Callable[[Exception], None] = lambda error: None
        self.last_error = ""
        """What the bus said when it last refused something."""
        self.use(FIRST)

    def use(self, membership: Membership) -> None:
        """Send to the members of `membership` from now on, and to whoever was one if asked to."""
        self._sets, self._members = membership.counting, membership.members
        self._partitions = {place.copy: place.partition for place in membership.places}
        for copy in self._partitions:
            self._lanes.setdefault(copy, _Lane())

    @property
    def dropped(self) -> int:
        """Parcels that a full lane dropped, in all."""
        return sum(lane.dropped for lane in self._lanes.values())

    def has_room(self) -> bool:
        """Whether a quorum of copies can take more at once."""
        if self._joint:
            return len(self._calls) < CALLS_MAX
        free = [copy for copy in self._members if len(self._lanes[copy].queue) < CALLS_MAX]
        return FOUR_OF_SIX.writes(free, self._sets)

    def send(self, parcel: Parcel, copies: Iterable[str]) -> None:
        """Send `parcel` to `copies`; returns at once. Order is kept per copy except between joint calls."""
        names = tuple(copies)
        if self._joint and names == self._members:
            records = [self._record(copy, parcel) for copy in names]
            task = asyncio.create_task(self._publish(records), name="volume-redo")
            self._calls[task] = self._clock.monotonic()
            task.add_done_callback(self._call_done)
            return
        for copy in names:
            self._enqueue(copy, parcel)

    def _record(self, copy: str, parcel: Parcel) -> port.NewRecord:
        return port.NewRecord(
            topic=self._topic,
            value=parcel.value,
            key=self._key,
            headers=parcel.headers,
            partition=self._partitions[copy],
        )

    async def _publish(self, records: list[port.NewRecord]) -> None:
        """Publish, again and again: what was stored twice is known to the copies by its epoch and LSN."""
        while not self._closed:
            try:
                await self._bus.publish(records)
                return
            except (port.UnknownTopicError, port.RecordTooLargeError) as error:
                self.on_fatal(error)
                return
            except port.BusError as error:
                self.last_error = str(error)
                self._log.warning("the bus refused redo", action="volume.redo.refused", error=str(error))
                await self._clock.sleep(RETRY_S)

    def _call_done(self, task: asyncio.Task[None]) -> None:
        self._calls.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_fatal(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        self._rejoin()
        self.on_room()

    def _enqueue(self, copy: str, parcel: Parcel) -> None:
        lane = self._lanes[copy]
        if lane.queue_bytes + len(parcel.value) > LANE_BYTES_MAX:
            lane.dropped += 1
            return
        lane.queue.append(parcel)
        lane.queue_bytes += len(parcel.value)
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(copy, lane), name=f"volume-redo-{copy}")

    async def _drain(self, copy: str, lane: _Lane) -> None:
        while lane.queue:
            parcels: list[Parcel] = []
            size = 0
            while lane.queue and (not parcels or size + len(lane.queue[0].value) <= 1_000_000):
                parcels.append(lane.queue.popleft())
                size += len(parcels[-1].value)
            await self._publish([self._record(copy, parcel) for parcel in parcels])
            lane.queue_bytes -= size
            self.on_room()
        lane.task = None
        self._rejoin()

    def check(self) -> None:
        """Look for a stalled call; call it now and then."""
        now = self._clock.monotonic()
        if self._joint and any(now - started > STALL_S for started in self._calls.values()):
            self._joint = False
            self._log.warning(
                "a partition of the redo hangs; copies are sent to one by one", action="volume.redo.split"
            )
            self.on_room()

    def _rejoin(self) -> None:
        if not self._joint and not self._calls and all(self._lanes[copy].task is None for copy in self._members):
            self._joint = True

    async def close(self) -> None:
        """Stop; what is not sent yet is given up."""
        self._closed = True
        tasks = [*self._calls, *(lane.task for lane in self._lanes.values() if lane.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
