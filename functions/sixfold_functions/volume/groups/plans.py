"""A volume's plan: given once, on its topic of members, and found there by whoever opens the volume."""

from __future__ import annotations

import random

from sixfold import clock as clocks
from sixfold import errors as usage
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumePlanned
from sixfold_functions.volume import client as clients
from sixfold_functions.volume import errors, roster, topics
from sixfold_functions.volume import replica as replicas
from sixfold_functions.volume import writer as writers
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.plan import Plan, PlanError
from sixfold_functions.volume.groups.client import GroupedClient
from sixfold_functions.volume.groups.replica import GroupedReplica
from sixfold_functions.volume.groups.writer import GroupedWriter
from sixfold_functions.volume.settings import WriterSettings

AnyWriter = writers.VolumeWriter | GroupedWriter
AnyClient = clients.VolumeClient | GroupedClient
AnyReplica = replicas.VolumeReplica | GroupedReplica


class VolumeExistsError(errors.VolumeError, usage.UsageError):
    """A volume of this name is there already, and it is another one."""


async def find(bus: port.Bus, registry: Registry, volume: str) -> Plan | None:
    """The plan of `volume`; None for a volume of one group, and for none. Makes no topics."""
    if volume == layout.DEFAULT_VOLUME or layout.topics(volume).members not in await bus.topics():
        return None
    return (await roster.load(bus, registry, volume))[0].plan


async def create(bus: port.Bus, registry: Registry, plan: Plan, *, clock: clocks.Clock) -> Plan:
    """Make the volume with `plan`; doing it again changes nothing. Raises UsageError, VolumeExistsError."""
    topics.check_name(plan.volume)
    if plan.volume == layout.DEFAULT_VOLUME:
        raise usage.UsageError(
            f"volume {plan.volume} is the one of a single group that every system has; expected another name"
        )
    try:
        plan.check()
    except PlanError as error:
        raise usage.UsageError(f"volume {plan.volume}: {error}") from None
    found = await find(bus, registry, plan.volume)
    if found is None and layout.topics(plan.volume).redo in await bus.topics():
        raise VolumeExistsError(f"volume {plan.volume} exists and has a single group; expected another name")
    await bus.create_topics(topics.spread_specs(plan.volume))
    if found is None:
        event = VolumePlanned(volume=plan.volume, groups=plan.groups, stripe=plan.stripe, page_bytes=plan.page_bytes)
        record = publisher.record_of(event, source="/volumes/plans", clock=clock, partition=0)
        await bus.publish([topics.moved(record, layout.topics(plan.volume).members)])
    found = await find(bus, registry, plan.volume)
    if found != plan:
        raise VolumeExistsError(
            f"volume {plan.volume} exists with another plan: {found}, not {plan}; a plan never changes, so expected "
            "another name"
        )
    for number in plan.numbers:
        await bus.create_topics(topics.specs(plan.volume_of(number)))
    return plan


async def open_writer(
    bus: port.Bus,
    *,
    registry: Registry,
    name: str,
    volume: str = layout.DEFAULT_VOLUME,
    clock: clocks.Clock | None = None,
    rng: random.Random | None = None,
    settings: WriterSettings | None = None,
) -> AnyWriter:
    """The writer of `volume`, however many groups it has, to be used as an async context manager."""
    plan = await find(bus, registry, volume)
    if plan is None:
        return writers.VolumeWriter(
            bus, registry=registry, name=name, volume=volume, clock=clock, rng=rng, settings=settings
        )
    return GroupedWriter(bus, plan, registry=registry, name=name, clock=clock, rng=rng, settings=settings)


async def open_client(
    bus: port.Bus, *, registry: Registry, volume: str = layout.DEFAULT_VOLUME, clock: clocks.Clock | None = None
) -> AnyClient:
    """A client of `volume`, however many groups it has, to be used as an async context manager."""
    plan = await find(bus, registry, volume)
    if plan is None:
        return clients.VolumeClient(bus, registry=registry, volume=volume, clock=clock)
    return GroupedClient(bus, plan, registry=registry, clock=clock)


async def open_replica(
    bus: port.Bus,
    *,
    registry: Registry,
    apply: replicas.Apply,
    volume: str = layout.DEFAULT_VOLUME,
    start_lsn: int | None = 0,
    name: str = "",
    clock: clocks.Clock | None = None,
) -> AnyReplica:
    """A read replica of `volume`, however many groups it has, to be used as an async context manager."""
    plan = await find(bus, registry, volume)
    if plan is None:
        return replicas.VolumeReplica(
            bus, registry=registry, apply=apply, volume=volume, start_lsn=start_lsn, name=name, clock=clock
        )
    return GroupedReplica(bus, plan, registry=registry, apply=apply, start_lsn=start_lsn, name=name, clock=clock)


async def all_plans(bus: port.Bus, registry: Registry) -> list[Plan]:
    """Of every volume that is spread over groups."""
    prefix = layout.topics("").members
    names = sorted(topic.removeprefix(prefix) for topic in await bus.topics() if topic.startswith(prefix))
    found = [await find(bus, registry, name) for name in names if name and layout.group_of(name) is None]
    return [plan for plan in found if plan is not None]


async def current_copies(bus: port.Bus, registry: Registry) -> list[dict[str, str]]:
    """The copies whose processes are to run: the default volume's members, and those of each group as they are now."""
    current = await roster.current(bus, registry)
    for plan in await all_plans(bus, registry):
        for number in plan.numbers:
            name = plan.volume_of(number)
            members = (await roster.load(bus, registry, name))[0].membership.members
            current += [{"volume": name, "copy": copy} for copy in members]
    return current


async def current_writers(bus: port.Bus, registry: Registry) -> list[dict[str, str]]:
    """The writers whose processes are to run: the default volume's, and one of each volume of several groups."""
    return [{}, *({"volume": plan.volume} for plan in await all_plans(bus, registry))]
