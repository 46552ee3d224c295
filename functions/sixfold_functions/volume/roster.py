"""What a volume's writers announced about its copies: where everyone but the copies themselves looks for them.

The topic keeps everything: it is small, and a writer that was followed may have put its last word behind its successor's.
Whoever stays enters a `Listener`, whoever asks once calls `load`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import ends, port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeMembersAnnounced, VolumePlanned, VolumeReplaceRequested
from sixfold_functions.volume import errors as failures
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST, Membership, of_event
from sixfold_functions.volume.core.plan import Plan


class Roster:
    """The newest membership that was announced, and the requests that nobody answered."""

    def __init__(self, registry: Registry, volume: str) -> None:
        self._registry = registry
        self._volume = volume
        self.membership = FIRST
        self.places: dict[layout.Place, None] = dict.fromkeys(FIRST.places)
        """Every place that any writer ever gave to a copy."""
        self.plan: Plan | None = None
        """How the volume is spread over groups, if it is; what was said first counts."""
        self.requests: dict[str, VolumeReplaceRequested] = {}
        """By their ids, in order."""

    def hear(self, record: port.Record) -> VolumeMembersAnnounced | VolumeReplaceRequested | None:
        """Take in a record of the topic; what it is, if it is of this volume."""
        event = topics.decoded(self._registry, record)
        if isinstance(event, VolumePlanned) and event.volume == self._volume and self.plan is None:
            self.plan = Plan(
                volume=event.volume, groups=event.groups, stripe=event.stripe, page_bytes=event.page_bytes
            ).check()
        if isinstance(event, VolumeMembersAnnounced) and event.volume == self._volume:
            self.requests.pop(event.request_id, None)
            told = of_event(event.membership)
            self.places.update(dict.fromkeys(told.places))
            if told.key > self.membership.key:
                self.membership = told
            return event
        if isinstance(event, VolumeReplaceRequested) and event.volume == self._volume:
            self.requests[event.request_id] = event
            return event
        return None


def partition(volume: str) -> port.TopicPartition:
    """Where announcements and requests are."""
    return port.TopicPartition(layout.topics(volume).members, 0)


async def load(bus: port.Bus, registry: Registry, volume: str) -> tuple[Roster, int]:
    """All that was announced so far, and the offset behind it."""
    roster, place = Roster(registry, volume), partition(volume)
    start, end = await bus.offsets(place)
    if start < end:
        async with bus.assign([place]) as consumer:
            async for batch in ends.read_up_to(consumer, {place: end}):
                for record in batch:
                    if record.offset < end:
                        roster.hear(record)
    return roster, end


async def load_alone(bus: port.Bus, registry: Registry, volume: str) -> tuple[Roster, int]:
    """As `load`. Raises SpreadError for a volume of several groups, which is used by what knows its plan."""
    roster, end = await load(bus, registry, volume)
    if roster.plan is not None:
        raise failures.SpreadError(volume, roster.plan.groups)
    return roster, end


class Listener:
    """Tells `use` who the members are: once when it is entered, then at each change. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        registry: Registry,
        clock: clocks.Clock,
        volume: str,
        use: Callable[[Membership], None],
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._use = use
        self._roster = Roster(registry, volume)
        self._volume = volume
        self._task: asyncio.Task[None] | None = None

    @property
    def membership(self) -> Membership:
        """What was announced last."""
        return self._roster.membership

    async def __aenter__(self) -> Self:
        self._roster, told = await load_alone(self._bus, self._registry, self._volume)
        self._use(self.membership)
        place = partition(self._volume)
        consumer = self._bus.assign([place], start=port.LATEST)
        await consumer.__aenter__()
        await consumer.seek(place, told)
        self._task = asyncio.create_task(self._listen(consumer), name=f"volume-{self._volume}-members")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, consumer: port.Consumer) -> None:
        try:
            async for records in topics.follow(consumer, self._clock):
                before = self.membership
                for record in records:
                    self._roster.hear(record)
                if self.membership is not before:
                    self._use(self.membership)
        finally:
            await consumer.__aexit__(None, None, None)


def named(names: Iterable[str], places: layout.Places) -> list[str]:
    """The copies among `places` that a person means by copies, zones or `all`, each once. Raises UsageError."""
    copies: dict[str, None] = {}
    for name in names:
        if not (meant := layout.expand(name, places)):
            expected = ", ".join((*layout.ZONES, *(place.copy for place in places), "all"))
            raise errors.UsageError(f"{name!r} is no zone and no copy; expected some of: {expected}")
        copies.update(dict.fromkeys(meant))
    return list(copies)


async def grow(bus: port.Bus, volume: str, membership: Membership) -> None:
    """Give each copy of `membership` its partitions, with their leaders in its zone; doing it again changes nothing."""
    zone_of = {place.partition: place.zone for place in membership.places}
    count = max(zone_of) + 1
    if count == len(layout.PLACES):
        return
    zones = tuple(zone_of[number] for number in range(count))
    existing = await bus.topics()
    for spec in topics.specs(volume):
        if spec.grows and existing[spec.name].partitions < count:
            grown = msgspec.structs.replace(
                existing[spec.name], partitions=count, replication=spec.replication, replica_zones=zones, grows=True
            )
            await bus.alter_topic(grown)


async def current(bus: port.Bus, registry: Registry) -> list[dict[str, str]]:
    """The copies of the default volume whose processes are to run: its members as they are now."""
    roster, _ = await load(bus, registry, layout.DEFAULT_VOLUME)
    return [{"copy": copy} for copy in roster.membership.members]


def say_removed(log: structlog.stdlib.BoundLogger, membership: Membership) -> None:
    """The copy ends, and is not to be started again."""
    log.warning(
        "this copy was replaced and is no member of the volume any more; it ends, and its folder may be removed",
        action="volume.copy.removed",
        version=membership.version,
        members=membership.members,
    )
