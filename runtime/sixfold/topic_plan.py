"""The topic plan: what a bus lacks of the topics that are declared, as data. Pure but for `apply`.

Source of the idea: a plan is decided first and done second; printing it is the dry run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from sixfold.bus import checking, port

Action = Literal["create", "change", "grow", "conflict"]
_SETTINGS = ("cleanup", "retention_ms", "retention_bytes", "record_bytes_max")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one topic."""

    action: Action
    """`create` it, `change` its settings, let it `grow`; or a `conflict`, which is left as it is."""
    spec: port.TopicSpec
    """As it will be; as it is declared, for a conflict."""
    changes: dict[str, tuple[Any, Any]] = {}
    """Settings that change, before and after."""
    why: str = ""
    """Of a conflict: what is in the way and what to do."""

    @property
    def topic(self) -> str:
        """Its name."""
        return self.spec.name


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a bus."""

    steps: tuple[Step, ...]
    """In the order in which they are done; a topic may have several."""
    unknown: tuple[str, ...]
    """Topics that nobody declared; they are left alone."""
    unchanged: int
    """Topics that are as declared."""

    @property
    def conflicts(self) -> tuple[Step, ...]:
        """What the plan cannot mend."""
        return tuple(step for step in self.steps if step.action == "conflict")

    @property
    def todo(self) -> tuple[Step, ...]:
        """What it does."""
        return tuple(step for step in self.steps if step.action != "conflict")


def plan(
    declared: Iterable[port.TopicSpec], existing: Mapping[str, port.TopicSpec], *, allow_partitions: bool = False
) -> Plan:
    """What `existing` lacks of `declared`. More partitions only where they are allowed: they move keys."""
    specs = {spec.name: spec for spec in declared}
    found: dict[str, list[Step]] = {"create": [], "change": [], "grow": [], "conflict": []}
    unchanged = 0
    for name in sorted(specs):
        steps = _steps(specs[name], existing.get(name), allow_partitions=allow_partitions)
        unchanged += not steps
        for step in steps:
            found[step.action].append(step)
    return Plan(
        steps=tuple(step for steps in found.values() for step in steps),
        unknown=tuple(sorted(set(existing) - set(specs))),
        unchanged=unchanged,
    )


def _steps(spec: port.TopicSpec, there: port.TopicSpec | None, *, allow_partitions: bool) -> list[Step]:
    if there is None:
        return [Step(action="create", spec=spec)]
    steps = []
    changes = {
        name: (_plain(getattr(there, name)), _plain(getattr(spec, name)))
        for name in _SETTINGS
        if getattr(there, name) != getattr(spec, name)
    }
    changed = msgspec.structs.replace(spec, partitions=there.partitions)
    if changes:
        steps.append(Step(action="change", spec=changed, changes=changes))
    if not checking.fits(spec, there.partitions):
        partitions = {"partitions": (there.partitions, spec.partitions)}
        if spec.partitions > there.partitions and allow_partitions:
            steps.append(Step(action="grow", spec=spec, changes=partitions))
        else:
            steps.append(Step(action="conflict", spec=spec, changes=partitions, why=_partitions(spec, there)))
    if None not in (spec.replication, there.replication) and spec.replication != there.replication:
        why = "replicas are moved by an administrator, with kafka-reassign-partitions.sh"
        replication = {"replication": (there.replication, spec.replication)}
        steps.append(Step(action="conflict", spec=spec, changes=replication, why=why))
    return steps


def _partitions(spec: port.TopicSpec, there: port.TopicSpec) -> str:
    if spec.partitions < there.partitions:
        return f"partitions are not taken away: declare {there.partitions}, or use another topic"
    return (
        "more partitions move keys: records of a key that are there stay, new ones may go elsewhere. "
        "--allow-partitions does it"
    )


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, port.Cleanup) else value


async def apply(bus: port.Bus, steps: Sequence[Step]) -> None:
    """Do `steps` of a plan in their order; conflicts are passed over. Doing it again changes nothing."""
    new = [step.spec for step in steps if step.action == "create"]
    if new:
        await bus.create_topics(new)
    for step in steps:
        if step.action in ("change", "grow"):
            await bus.alter_topic(step.spec)
