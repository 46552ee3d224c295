"""A read replica, usable in any process: `async with VolumeReplica(bus, …, apply=put) as replica: await replica.reached(lsn)`.

It follows one copy's redo partition and the announcements of what is durable, in no group, and gives `apply` one
consistency point after the other; what it lacks it reads from a copy's log (`filling.py`). The copies know nothing of it
and wait for nothing; the writer hears once a second where it reads. The core, `core/replica.py`, decides what is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events import Event
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeDurableAdvanced
from sixfold_functions.volume import errors, filling, nearest, reporting, roster, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.core.node import Redo
from sixfold_functions.volume.core.replica import ConsistencyPoint, Replica
from sixfold_functions.volume.readpoints import ReadPointLostError

ZONE = "SIXFOLD_ZONE"
BEHIND_S = 1.0
"""A partition that does not reach the announced LSN for so long is left for another copy's."""
WATCH_S = 0.1
START_TIMEOUT_S = 1.0

Apply = Callable[[ConsistencyPoint], Awaitable[None] | None]


class ReplicaBehindError(errors.VolumeError):
    """The replica has not applied an LSN in time."""


class ReplicaDivergedError(errors.VolumeError):
    """The volume is not the one any more that the replica followed: start it anew, from an empty state."""


class ReplicaLag(NamedTuple):
    """How far a replica is behind."""

    records: int
    """Durable for all that it knows, and not applied."""
    seconds: float | None
    """From commit to visible, as Aurora measures it: since the oldest of these became durable; where there is none, what
    the last one took. By the writer's clock and this machine's. None before anything was measured."""


class VolumeReplica:
    """Applies a volume's records up to what is durable. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        registry: Registry,
        apply: Apply,
        volume: str = layout.DEFAULT_VOLUME,
        start_lsn: int | None = 0,
        name: str = "",
        zone: str | None = None,
        clock: clocks.Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`apply` gets what comes behind `start_lsn`, of which the caller has the state: 0 for all, None for what is new.

        It is called for one consistency point after the other, and may be a coroutine; the next waits for it. An error
        that it raises ends the replica. `zone` (by default SIXFOLD_ZONE) says whose copies are near.
        """
        self.volume = volume
        self.name = name or f"replica-{uuid.uuid4().hex[:8]}"
        self.zone = environ.get(ZONE, "").strip() if zone is None else zone
        self.clock = clock or clocks.SystemClock()
        self.registry = registry
        self.failure: Exception | None = None
        """Why it ended."""
        self.answering = 0
        """How many copies answered when it began; without any it has nothing but what comes."""
        self._bus = bus
        self._apply = apply
        self._start_lsn = start_lsn
        self._topics = layout.topics(volume)
        self.reader = readers.CopyReader(bus, registry=registry, clock=self.clock, volume=volume)
        self._members = roster.Listener(bus, registry=registry, clock=self.clock, volume=volume, use=self._use)
        self._nearest = nearest.Nearest(volume, self.zone)
        self.core = Replica(volume, start_lsn=start_lsn or 0)
        self._applied_lsn = self.core.given_lsn
        self._applying = asyncio.Lock()
        self._changed = asyncio.Event()
        self._held: dict[object, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._redo: asyncio.Task[None] | None = None
        self._filler = filling.Filler(self)
        self._log = structlog.get_logger().bind(volume=volume, replica=self.name)

    # -- what it offers --------------------------------------------------------------------------------------------

    @property
    def copy(self) -> str:
        """The copy whose partition it follows."""
        return self._nearest.copies[0]

    @property
    def copies(self) -> list[str]:
        """All copies, the nearest first, but those that did not serve last."""
        return list(self._nearest.copies)

    @property
    def read_point(self) -> int:
        """LSN up to which everything is applied: always a consistency point, and durable."""
        return self._applied_lsn

    @property
    def lag(self) -> ReplicaLag:
        """How far it is behind now."""
        behind_ms = self.core.lag.behind_ms(self.clock.now() * 1000)
        records = max(self.core.durable_lsn - self._applied_lsn, 0)
        return ReplicaLag(records, None if behind_ms is None else behind_ms / 1000)

    @property
    def oldest_read_lsn(self) -> int:
        """Oldest LSN at which somebody reads here."""
        return min(self._held.values(), default=self._applied_lsn)

    async def reached(self, lsn: int, *, timeout_s: float = 10.0) -> int:
        """Return once everything up to `lsn` is applied, so that a client sees what it wrote; the read point then is given.

        Raises ReplicaBehindError after `timeout_s`, and what ended the replica.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._applied_lsn < lsn:
                    self._check_failure()
                    await self._changed.wait()
        except TimeoutError:
            raise ReplicaBehindError(
                f"volume {self.volume}: {self.name} has applied LSN {self._applied_lsn} and not LSN {lsn} after "
                f"{timeout_s:g} s ({self.core.durable_lsn} is durable for all that it knows); is the writer running, and "
                "does a copy answer? sixfold volume status"
            ) from None
        self._check_failure()
        return self._applied_lsn

    async def ended(self) -> None:
        """Return never; raises what ended the replica."""
        while True:
            self._check_failure()
            await self._changed.wait()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[], int]]:
        """Keep the volume's state at the present read point, for a longer read, while the block runs.

        Gives a function that returns its LSN, or raises ReadPointLostError once the volume does not keep it any more.
        """
        key, lsn = object(), self._applied_lsn
        self._held[key] = lsn

        def point() -> int:
            self._check_failure()
            if lsn < self.core.low_water_lsn:
                raise ReadPointLostError(self.volume, self.name, lsn, self.core.low_water_lsn)
            return lsn

        try:
            yield point
        finally:
            del self._held[key]

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _use(self, membership: Membership) -> None:
        self.reader.use(membership)
        self._nearest.use(membership)

    # -- its life --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._bus.create_topics(topics.specs(self.volume))
        await self.reader.__aenter__()
        try:
            await self._members.__aenter__()
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self) -> None:
        """What the partition brings before its end, or while this looks around, is announced or told, and then read."""
        durable = self._bus.assign([self._durable], start=port.LATEST)
        await durable.__aenter__()
        await durable.seek(self._durable, (await self._bus.offsets(self._durable)).end)
        self._start_task(self._listen_durable(durable), "durable")
        answers = await self.reader.ask_all(timeout_s=START_TIMEOUT_S)
        statuses = [answer.status for answer in answers.values()]
        self.answering = len(statuses)
        if self._start_lsn is None:
            settled = max([self.core.durable_lsn, *(status.settled_lsn for status in statuses)])
            self.core = Replica(self.volume, start_lsn=settled)
            self._applied_lsn = self.core.given_lsn
        for status in statuses:
            self.core.on_answer(status)
        self._nearest.prefer(answers)
        await self._follow()
        for record in await topics.last_records(self._bus, self._topics.durable, 1):
            await self._hear(record)
        self._start_task(self._filler.run(), "filler")
        self._start_task(self._watch(), "watch")
        self._start_task(reporting.report(self, self._bus), "report")
        self._filler.look()
        self._log.info("replica follows", action="volume.replica.started", copy=self.copy, read_point=self._applied_lsn)

    @property
    def _durable(self) -> port.TopicPartition:
        return port.TopicPartition(self._topics.durable, 0)

    def _start_task(self, work: Awaitable[None], what: str) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        task.set_name(f"volume-replica-{what}")
        task.add_done_callback(self._task_done)
        self._tasks.append(task)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error if isinstance(error, Exception) else errors.VolumeError(repr(error)))

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        await reporting.release(self, self._bus)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._members.__aexit__(None, None, None)
        await self.reader.__aexit__(None, None, None)
        self._fail(errors.VolumeError(f"volume {self.volume}: {self.name} was closed"))

    # -- what it hears ---------------------------------------------------------------------------------------------

    async def _listen_durable(self, consumer: port.Consumer) -> None:
        try:
            async for records in topics.follow(consumer, self.clock):
                for record in records:
                    await self._hear(record)
        finally:
            await consumer.__aexit__(None, None, None)

    async def _follow(self) -> None:
        """Follow the first copy's partition from its end; what lies before is read from a log."""
        if self._redo is not None:
            self._redo.cancel()
            await asyncio.gather(self._redo, return_exceptions=True)
            self._tasks.remove(self._redo)
        self.core.heard_lsn = self.core.durable_lsn  # what lies before the partition's end is not awaited
        self._redo = self._start_task(self._listen_redo(self._nearest.follow()), "redo")

    async def _listen_redo(self, partition: port.TopicPartition) -> None:
        while True:
            try:
                async with self._bus.assign([partition], start=port.LATEST) as consumer:
                    await consumer.seek(partition, (await self._bus.offsets(partition)).end)
                    async for records in topics.follow(consumer, self.clock):
                        for record in records:
                            await self._hear(record)
            except port.BusUnavailableError:
                await self.clock.sleep(topics.BUS_RETRY_S)  # until then others may serve: `_watch`

    async def _hear(self, record: port.Record) -> None:
        event: Event | None
        try:
            event = self.registry.decode(record.value, record.headers)
        except ValueError:
            return  # not ours to stop for: a gap is filled
        if isinstance(event, VolumeDurableAdvanced):
            self.core.on_announcement(event)
        elif isinstance(event, Redo):
            self.core.on_redo(event)
        await self.apply()
        self._filler.look()

    async def apply(self) -> None:
        """Apply what the core gives. Whoever gave something in waits for it, so nothing piles up."""
        async with self._applying:
            if self.core.diverged:
                raise ReplicaDivergedError(
                    f"volume {self.volume}: {self.name} cannot follow: {self.core.diverged}. More copies lost their logs "
                    "than a quorum bears, or the volume was made anew; start the replica from an empty state"
                )
            for point in self.core.take_points():
                done = self._apply(point)
                if inspect.isawaitable(done):
                    await done
                self._applied_lsn = point.last_lsn
                self.core.lag.applied(point.last_lsn, self.clock.now() * 1000)
                self._tell()

    # -- moving on -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Leave the partition of a copy that was replaced, and one that stays below what is announced.

        Its broker is away, or lost it, or is slow.
        """
        behind_since: float | None = None
        while True:
            await self.clock.sleep(WATCH_S)
            if self._nearest.is_left:
                behind_since = None
                await self._move(self._nearest.followed)
                continue
            if self.core.heard_lsn >= self.core.durable_lsn:
                behind_since = None
                continue
            now = self.clock.monotonic()
            behind_since = now if behind_since is None else behind_since
            if now - behind_since >= BEHIND_S:
                behind_since = None
                self._nearest.put_last()
                await self._move(self._nearest.followed)

    async def _move(self, left: str) -> None:
        self._log.warning("another copy is followed", action="volume.replica.moved", left=left, copy=self.copy)
        await self._follow()
