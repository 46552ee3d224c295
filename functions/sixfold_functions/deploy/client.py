"""The published face of the deploy capability: asking for deployments, and how things stand, read from the log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from sixfold.bus import EARLIEST, Record, Start, TopicPartition, ends
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events import DecodeError, Event, cloudevents
from sixfold_events import deploy as events
from sixfold_events.event import key_of

E = TypeVar("E", bound=Event)


async def request(process: Process, wanted: events.DeploymentRequested, *, source: str) -> None:
    """Ask for a deployment; durable when this returns. A second request with the same id changes nothing."""
    await Publisher(process.require_bus(), source=source, clock=process.clock).publish(wanted)


async def forget(process: Process, group: str, instance: str, *, source: str) -> None:
    """Take an instance out of a group; it comes back when its agent asks for commands again."""
    event = events.AgentForgotten(group=group, instance=instance)
    await Publisher(process.require_bus(), source=source, clock=process.clock).publish(event)


async def deployments(process: Process) -> list[events.DeploymentChanged]:
    """Every deployment as it stands, the newest first."""
    found = await _latest(process, events.DeploymentChanged)
    return sorted(found, key=lambda each: (-each.created_at_ms, each.deployment_id))


async def targets(process: Process, deployment_id: str) -> list[events.DeploymentTargetChanged]:
    """How each instance stands in a deployment."""
    found = await _latest(process, events.DeploymentTargetChanged)
    return sorted((each for each in found if each.deployment_id == deployment_id), key=lambda each: each.instance)


async def steps(process: Process, deployment: events.DeploymentChanged) -> list[events.DeploymentStepReported]:
    """What the agents reported of a deployment, as long as the log keeps it."""
    start = Start("timestamp", deployment.created_at_ms)
    return [
        event
        async for event in read(process, events.DeploymentStepReported, start=start)
        if event.deployment_id == deployment.deployment_id
    ]


async def instances(process: Process) -> list[events.InstanceChanged]:
    """The instances that the deploy function knows."""
    found = await _latest(process, events.InstanceChanged)
    return sorted((each for each in found if not each.forgotten), key=lambda each: (each.group, each.instance))


async def groups(process: Process) -> tuple[str, ...]:
    """The groups that have instances."""
    return tuple(sorted({each.group for each in await instances(process)}))


async def _latest(process: Process, cls: type[E]) -> list[E]:
    """The newest event of each key of a compacted topic."""
    found: dict[bytes | None, E] = {}
    async for event in read(process, cls):
        found[key_of(event)] = event
    return list(found.values())


async def read(process: Process, cls: type[E], *, start: Start = EARLIEST) -> AsyncIterator[E]:
    """Events of one type from their topic, up to its end as it is now."""
    async for _, event in records(process, cls, start=start):
        yield event


async def records(
    process: Process, cls: type[E], *, start: Start = EARLIEST, follow: bool = False
) -> AsyncGenerator[tuple[Record, E], None]:
    """As `read`, with the records; with `follow` for ever. Close it (contextlib.aclosing) when leaving early."""
    bus = process.require_bus()
    topic = cls.__event__.topic
    spec = (await bus.topics()).get(topic)
    if spec is None:
        return  # no deployment was ever asked for on this bus
    partitions = [TopicPartition(topic, number) for number in range(spec.partitions)]
    async with bus.assign(partitions, start=start) as consumer:
        batches = ends.read_on(consumer) if follow else ends.read_up_to(consumer, await ends.of(bus, partitions))
        async with contextlib.aclosing(batches):
            async for batch in batches:
                for record in batch:
                    event = _decoded(process, cls, record)
                    if event is not None:
                        yield record, event


def _decoded(process: Process, cls: type[E], record: Record) -> E | None:
    """The record's event where it is a `cls`; other types and what cannot be read are passed over."""
    if record.value is None or cloudevents.attributes_of(record.headers).type != cls.__event__.type:
        return None
    try:
        event = process.registry.decode(record.value, record.headers)
    except DecodeError:
        return None
    return event if isinstance(event, cls) else None
