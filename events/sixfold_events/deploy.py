"""Events of deployments: requests, what becomes of them, the agents' commands and their reports.

Everything that moves one group's deployments lies on `deploy.events`, keyed by group, so one partition holds it in
one order. Topics ending in a state word (`deploy.status`, `deploy.targets`, `deploy.instances`, `deploy.timers`) are
compacted: the newest record of a key is how the thing stands.
"""

from __future__ import annotations

from sixfold_events.event import Event


class DeploymentRequested(Event, topic="deploy.requests", key="group"):
    """Somebody wants a revision on every instance of a group."""

    deployment_id: str
    """Chosen by whoever asks; a second request with the same id changes nothing."""
    application: str
    group: str
    revision: str
    """Commit id of the revision; hooks see it as BUNDLE_COMMIT."""
    artifact: str
    """SHA-256 (64 hex digits) of a .tar.gz in the object store."""
    creator: str
    """`pipeline:<execution>`, `user` or `rollback:<deployment>`."""
    appspec: str = "appspec.yml"
    """Path of the AppSpec in the artifact."""


class DeploymentFinished(Event, topic="deploy.results", key="group"):
    """A deployment has ended; nothing of it will change any more."""

    deployment_id: str
    application: str
    group: str
    revision: str
    creator: str
    status: str
    """`Succeeded` or `Failed`."""
    reason: str
    """Why it failed, for a reader; empty where it succeeded."""


class DeploymentPrepared(Event, topic="deploy.events", key="group"):
    """A request whose artifact and AppSpec were looked at; with a problem it fails before any instance is touched."""

    deployment_id: str
    application: str
    group: str
    revision: str
    artifact: str
    appspec: str
    creator: str
    problem: str = ""
    """What is wrong with artifact or AppSpec, with file and line; empty where nothing is."""


class DeploymentStepReported(Event, topic="deploy.events", key="group"):
    """An agent says how far a lifecycle event of a deployment is."""

    report_id: str
    """The same each time the agent sends this report."""
    group: str
    instance: str
    deployment_id: str
    lifecycle_event: str
    """Such as `BeforeInstall`."""
    status: str
    """`InProgress`, `Succeeded`, `Failed` or `Skipped` (nothing to do)."""
    message: str = ""
    log_tail: str = ""
    """The end of what the scripts wrote, at most 2048 bytes."""
    budget_ms: int = 0
    """With `InProgress`: the event ends within this time, or its scripts are stopped."""
    started_at_ms: int = 0
    ended_at_ms: int = 0
    """0 while it is in progress."""


class AgentSeen(Event, topic="deploy.events", key="group"):
    """The agent of an instance asked for commands; sent at most every few seconds for one instance."""

    group: str
    instance: str
    seen_at_ms: int
    version: str = ""
    """Of the agent."""


class AgentForgotten(Event, topic="deploy.events", key="group"):
    """An operator says that an instance belongs to the group no more."""

    group: str
    instance: str


class DeploymentDue(Event, topic="deploy.events", key="group"):
    """The moment that `DeploymentTimerSet` named has come."""

    group: str
    deployment_id: str
    due_at_ms: int


class DeploymentTimerSet(Event, topic="deploy.timers", key="group"):
    """Asks for a `DeploymentDue` at a time; one timer a group, the newest counts."""

    group: str
    deployment_id: str
    due_at_ms: int
    """0 takes the timer away."""


class DeploymentCommanded(Event, topic="deploy.commands", key="instance"):
    """A command to one instance's agent, which trusts nothing but the signed payload."""

    instance: str
    command_id: str
    deployment_id: str
    artifact: str
    """What the instance may download while the command lives."""
    payload: bytes
    """The command as JSON; exactly these bytes are signed."""
    signature: bytes
    """Ed25519, by the system's deployment signing key."""
    expires_at_ms: int


class DeploymentChanged(Event, topic="deploy.status", key="deployment_id"):
    """How a deployment stands."""

    deployment_id: str
    application: str
    group: str
    revision: str
    creator: str
    status: str
    """`Created`, `InProgress`, `Succeeded` or `Failed`."""
    created_at_ms: int
    changed_at_ms: int
    reason: str = ""
    rollback_id: str = ""
    """The deployment that takes this one back; empty where there is none."""


class DeploymentTargetChanged(Event, topic="deploy.targets", key="target"):
    """How one instance stands in a deployment."""

    target: str
    """`<deployment>/<instance>`."""
    deployment_id: str
    instance: str
    status: str
    """`Pending`, `InProgress`, `Succeeded`, `Failed` or `Skipped` (the rollout stopped before it)."""
    changed_at_ms: int
    message: str = ""


class InstanceChanged(Event, topic="deploy.instances", key="instance"):
    """An instance as the deploy function knows it; written when it is new, forgotten, and now and then between."""

    instance: str
    group: str
    first_seen_at_ms: int
    last_seen_at_ms: int
    forgotten: bool = False
