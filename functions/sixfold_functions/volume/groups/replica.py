"""A read replica of a volume that is spread over groups: `async with GroupedReplica(bus, plan, …, apply=put) as replica: …`.

It follows each group as `VolumeReplica` does, and puts their parts together (`core/merging.py`). A group gives only what
is at or below VDL, so what is put together is durable, and a new writer in between is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeDurableAdvanced
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.merging import Merger
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.groups import finding
from sixfold_functions.volume.readpoints import ReadPointLostError
from sixfold_functions.volume.replica import Apply, ReplicaBehindError, ReplicaLag, VolumeReplica

HELD_PARTS_MAX = 256
"""Of one group that wait for others; then that group waits too. A part has a quarter of a megabyte mostly at most."""


class _Follower(VolumeReplica):
    """Follows one group; what it keeps readable is where its volume's replica is."""

    place: Callable[[], int]

    @property
    def oldest_read_lsn(self) -> int:
        return min(super().oldest_read_lsn, self.place())


class GroupedReplica:
    """Applies a volume's records up to what is durable. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        plan: Plan,
        *,
        registry: Registry,
        apply: Apply,
        start_lsn: int | None = 0,
        name: str = "",
        zone: str | None = None,
        clock: clocks.Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """As `VolumeReplica`, by volume LSNs."""
        self.plan = plan
        self.name = name or f"replica-{uuid.uuid4().hex[:8]}"
        self.clock = clock or clocks.SystemClock()
        self.registry = registry
        self.failure: Exception | None = None
        self._bus = bus
        self._apply = apply
        self._start_lsn = start_lsn
        self._zone = zone
        self._environ = environ
        self._merger = Merger()
        self._read_point = 0
        self._places: dict[int, int] = {}
        self._held: dict[object, dict[int, int]] = {}
        self._applying = asyncio.Lock()
        self._changed = asyncio.Event()
        self._followers: dict[int, _Follower] = {}
        self._watches: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()

    # -- what it offers --------------------------------------------------------------------------------------------

    @property
    def read_point(self) -> int:
        """Volume LSN up to which everything is applied: always a consistency point, and durable."""
        return self._read_point

    @property
    def lag(self) -> ReplicaLag:
        """How far it is behind: of all groups together in their own records, of the slowest one in seconds."""
        lags = [follower.lag for follower in self._followers.values()]
        seconds = [lag.seconds for lag in lags if lag.seconds is not None]
        return ReplicaLag(sum(lag.records for lag in lags), max(seconds, default=None))

    @property
    def answering(self) -> int:
        """How many copies answered when it began, in the group where the fewest did."""
        return min((follower.answering for follower in self._followers.values()), default=0)

    async def reached(self, lsn: int, *, timeout_s: float = 10.0) -> int:
        """Return once everything up to `lsn` is applied; the read point then is given.

        Raises ReplicaBehindError after `timeout_s`, and what ended the replica.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._read_point < lsn:
                    self._check_failure()
                    await self._changed.wait()
        except TimeoutError:
            groups = ", ".join(f"{each.volume} to {each.read_point}" for each in self._followers.values())
            raise ReplicaBehindError(
                f"volume {self.plan.volume}: {self.name} has applied LSN {self._read_point} and not LSN {lsn} after "
                f"{timeout_s:g} s (it followed {groups}, in their own LSNs); is the writer running, and does a copy of each "
                f"group answer? sixfold volume status --volume {self.plan.volume}"
            ) from None
        self._check_failure()
        return self._read_point

    async def ended(self) -> None:
        """Return never; raises what ended the replica."""
        while True:
            self._check_failure()
            await self._changed.wait()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[], int]]:
        """Keep the volume's state at the present read point while the block runs, as `VolumeReplica.reading`."""
        key, lsn, places = object(), self._read_point, dict(self._places)
        self._held[key] = places

        def point() -> int:
            self._check_failure()
            for number, follower in self._followers.items():
                if places[number] < follower.core.low_water_lsn:
                    raise ReadPointLostError(follower.volume, self.name, places[number], follower.core.low_water_lsn)
            return lsn

        try:
            yield point
        finally:
            del self._held[key]

    def _place(self, number: int) -> int:
        """The oldest LSN of a group at which somebody reads here."""
        return min([self._places.get(number, 0), *(places[number] for places in self._held.values())])

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    # -- its life --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._bus.create_topics(topics.spread_specs(self.plan.volume))
            start_lsn = await self._announced() if self._start_lsn is None else self._start_lsn
            self._merger, self._read_point = Merger(start_lsn), start_lsn
            for number in self.plan.numbers:
                self._places[number] = await self._begin(number, start_lsn)
            for number in self.plan.numbers:
                follower = _Follower(
                    self._bus,
                    registry=self.registry,
                    apply=functools.partial(self._take, number),
                    volume=self.plan.volume_of(number),
                    start_lsn=self._places[number],
                    name=self.name,
                    zone=self._zone,
                    clock=self.clock,
                    environ=self._environ,
                )
                follower.place = functools.partial(self._place, number)
                self._followers[number] = follower
                await stack.enter_async_context(follower)
                self._watches.append(asyncio.create_task(self._watch(follower), name=f"volume-{follower.volume}-watch"))
            stack.push_async_callback(self._end_watches)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _end_watches(self) -> None:
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def _watch(self, follower: _Follower) -> None:
        try:
            await follower.ended()
        except Exception as error:
            self.failure = self.failure or error
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _announced(self) -> int:
        """What the writer announced last to be durable."""
        for record in await topics.last_records(self._bus, layout.topics(self.plan.volume).durable, 1):
            event = topics.decoded(self.registry, record)
            if isinstance(event, VolumeDurableAdvanced):
                return event.durable_lsn
        return 0

    async def _begin(self, number: int, start_lsn: int) -> int:
        """Where to begin in a group: behind what lies at or below `start_lsn`; earlier where no copy says it."""
        if not start_lsn:
            return 0
        volume = self.plan.volume_of(number)
        async with readers.CopyReader(self._bus, registry=self.registry, clock=self.clock, volume=volume) as reader:
            answers = await reader.ask_all()
            for answer in sorted(answers.values(), key=lambda answer: -answer.status.settled_lsn):
                with contextlib.suppress(readers.CopyUnreachableError, readers.CopyDamagedError):
                    settled_lsn = answer.status.settled_lsn
                    return await finding.place_of(reader, self.registry, answer.copy, settled_lsn, start_lsn)
        return 0

    async def _take(self, number: int, point: ConsistencyPoint) -> None:
        """A group gives one of its parts; whoever gave it waits until it may give more."""
        async with self._applying:
            for whole in self._merger.take(number, point.records, point.last_lsn):
                done = self._apply(whole)
                if inspect.isawaitable(done):
                    await done
                self._read_point = whole.last_lsn
            self._places.update(self._merger.places)
            self._tell()
        while self._merger.held.get(number, 0) >= HELD_PARTS_MAX:
            self._check_failure()
            await self._changed.wait()
