"""The records of a group's deployments, and the transition tables that they move by.

`core.py` decides over them; the tables are also what DESIGN.md's diagrams are made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

KNOWN_MAX = 500
"""Deployment ids that a group remembers, so that a repeated request changes nothing."""
ROLLBACK = "rollback:"
"""How the creator of a rollback begins; the deployment that it takes back follows."""

CREATED, PENDING = "Created", "Pending"
IN_PROGRESS, SUCCEEDED, FAILED, SKIPPED = "InProgress", "Succeeded", "Failed", "Skipped"

Transitions = Mapping[tuple[str, str], str]

DEPLOYMENT: Transitions = {
    (CREATED, "begin"): IN_PROGRESS,
    (CREATED, "refuse"): FAILED,
    (IN_PROGRESS, "succeed"): SUCCEEDED,
    (IN_PROGRESS, "fail"): FAILED,
}
"""A deployment's states: (state, input) -> state. What is not in the table cannot happen."""

TARGET: Transitions = {
    (PENDING, "command"): IN_PROGRESS,
    (PENDING, "skip"): SKIPPED,
    (IN_PROGRESS, "succeed"): SUCCEEDED,
    (IN_PROGRESS, "fail"): FAILED,
}
"""The states of one instance in a deployment."""


def moved(table: Transitions, state: str, by: str) -> str:
    """The state that `by` leads to from `state`."""
    return table[state, by]


class Revision(NamedTuple):
    """What is to be on the instances."""

    application: str
    revision: str
    artifact: str
    appspec: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The instance that is being deployed to."""

    instance: str
    step: int = -1
    """Index in `lifecycle.IN_PLACE` of the last event that it reported; -1 before the first."""
    done: bool = False
    """Whether it reported the end of that event."""
    heard_ms: int
    """When its agent last said anything."""
    due_ms: int
    """When the next report must be there."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment to one group."""

    id: str
    goal: Revision
    creator: str
    created_ms: int
    status: str = CREATED
    reason: str = ""
    only: tuple[str, ...] = ()
    """Instances that it is for; empty is all of the group (a rollback is for those that got the bad revision)."""
    waiting: tuple[str, ...] = ()
    """Instances whose turn is to come."""
    target: Target | None = None
    touched: tuple[str, ...] = ()
    """Instances whose turn is over, whatever came of it."""
    failures: tuple[str, ...] = ()
    """`<instance>: <what failed>`."""
    rollback_id: str = ""

    @property
    def is_rollback(self) -> bool:
        return self.creator.startswith(ROLLBACK)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """All that the deploy function knows of a group."""

    name: str
    instances: tuple[str, ...] = ()
    """In the order in which they are deployed to."""
    current: Deployment | None = None
    queue: tuple[Deployment, ...] = ()
    last_good: Mapping[str, Revision] = msgspec.field(default_factory=dict)
    """Application to the revision that last succeeded on every instance."""
    known: tuple[str, ...] = ()
    """Ids of deployments taken in, the newest last."""
    armed_ms: int = 0
    """When the group's timer fires; 0 for none."""
    armed_for: str = ""


class Command(NamedTuple):
    """Tell the instance's agent to deploy."""

    deployment: Deployment
    instance: str


class DeploymentMoved(NamedTuple):
    """Announce how a deployment stands; with a final status it is over."""

    deployment: Deployment


class TargetMoved(NamedTuple):
    """Announce how an instance stands in a deployment."""

    deployment_id: str
    instance: str
    status: str
    message: str = ""


class Timer(NamedTuple):
    """Set the group's timer; 0 takes it away."""

    deployment_id: str
    due_ms: int


Effect = Command | DeploymentMoved | TargetMoved | Timer
