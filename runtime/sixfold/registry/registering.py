"""Bringing frozen schemas to a registry: the plan, which is data, and its execution.

The plan knows every version of each subject, so it tells beforehand what the registry would refuse, also of a version
that follows one which is not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from sixfold import errors
from sixfold.registry import client as clients
from sixfold.registry.failures import NotRegisteredError
from sixfold.registry.settings import Strategy
from sixfold.registry.subjects import subject_of
from sixfold_events import Event, canonical, levels

Action = Literal["register", "known", "incompatible"]


class Frozen(NamedTuple):
    """A frozen schema of an event type."""

    event_type: str
    version: int
    topic: str
    schema: Any


class Remote(NamedTuple):
    """A subject as the registry has it."""

    level: str
    versions: Sequence[clients.Version]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one frozen schema."""

    type: str
    version: int
    """Of the event type."""
    subject: str
    action: Action
    id: int | None = None
    """The registry's, once it is registered."""
    reasons: list[str] = []
    """Why it is incompatible."""


def frozen(folder: Path, classes: Iterable[type[Event]]) -> list[Frozen]:
    """Every frozen version of `classes` below `folder`, oldest first. Raises UsageError for an unreadable file."""
    found = []
    for cls in sorted(classes, key=lambda each: each.__event__.type):
        declared = cls.__event__
        paths = {int(path.stem[1:]): path for path in (folder / declared.type).glob("v*.avsc")}
        for version in sorted(paths):
            try:
                schema = json.loads(paths[version].read_text())
            except (OSError, ValueError) as error:
                raise errors.UsageError(f"{paths[version]} cannot be read: {error}") from error
            found.append(Frozen(declared.type, version, declared.topic, schema))
    return found


async def remote(client: clients.RegistryClient, subjects: Iterable[str]) -> dict[str, Remote]:
    """What the registry has of `subjects`."""
    found = {}
    for subject in dict.fromkeys(subjects):
        try:
            numbers = await client.versions(subject)
        except NotRegisteredError:
            numbers = []
        versions = [await client.version(subject, number) for number in numbers]
        found[subject] = Remote(await client.compatibility(subject), versions)
    return found


def plan(schemas: Iterable[Frozen], strategy: Strategy, there: Mapping[str, Remote]) -> list[Step]:
    """What has to be done. Pure."""
    lines: dict[str, list[tuple[int, Any]]] = {
        subject: [(each.version, each.schema) for each in found.versions] for subject, found in there.items()
    }
    steps = []
    for each in schemas:
        subject = subject_of(strategy, each.topic, each.schema)
        found = there[subject]
        text = canonical.text(each.schema)
        same = next((one for one in found.versions if canonical.text(one.schema) == text), None)
        action: Action = "known"
        reasons: list[str] = []
        if same is None:
            older = lines[subject]
            level = levels.Level(found.level)
            reasons = [str(one) for one in levels.violations(level, each.schema, older, logical=False)]
            action = "incompatible" if reasons else "register"
            if not reasons:
                older.append((max((number for number, _ in older), default=0) + 1, each.schema))
        steps.append(
            Step(
                type=each.event_type,
                version=each.version,
                subject=subject,
                action=action,
                id=same.id if same else None,
                reasons=reasons,
            )
        )
    return steps


async def apply(client: clients.RegistryClient, steps: Sequence[Step], schemas: Sequence[Frozen]) -> list[Step]:
    """Register what the plan says, in its order; the steps with the ids that the registry gave."""
    done = []
    for step, each in zip(steps, schemas, strict=True):
        if step.action == "register":
            registered = await client.register(step.subject, each.schema)
            done.append(msgspec.structs.replace(step, id=registered.id))
        else:
            done.append(step)
    return done
