"""What a pipeline is (its checked definition) and what an execution of it knows of itself. Plain frozen data."""

from __future__ import annotations

import enum

import msgspec


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """What a build leaves behind: files below a folder of the working copy."""

    base_directory: str
    files: list[str]


class Build(msgspec.Struct, frozen=True, kw_only=True, tag="Build", tag_field="category"):
    """Commands in a working copy."""

    name: str
    commands: list[str]
    timeout_s: int = 3600
    """For all commands together; an hour, as CodeBuild's default."""
    artifact: Artifact | None = None


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag="Deploy", tag_field="category"):
    """The newest artifact to every instance of a group."""

    name: str
    application: str
    group: str
    appspec: str = "appspec.yml"


Action = Build | Deploy


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Actions that run one after the other."""

    name: str
    actions: list[Action]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline as `pipeline.yaml` gives it."""

    name: str
    branches: list[str]
    """Branches whose pushes start it; `*` stands for any text."""
    stages: list[Stage]


class Status(enum.Enum):
    """How an execution stands; the words are CodePipeline's where it has one."""

    WAITING = "Waiting"
    RUNNING = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUPERSEDED = "Superseded"


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution's row."""

    pipeline: str
    execution: str
    repository: str
    ref: str
    commit: str
    definition: Definition | None
    """None where `pipeline.yaml` could not be used; then it can never run."""
    status: Status
    stage: int = 0
    """Index of the stage that runs, ran last, or comes next."""
    action: int = 0
    attempt: int = 1
    """Counts retries, so that a retried action is another one for who carries it out."""
    artifact: str = ""
    """The newest artifact's digest."""

    @property
    def action_execution(self) -> str:
        """Id of the current action's current attempt; the idempotency key of its work."""
        return f"{self.execution}.{self.stage}.{self.action}.{self.attempt}"


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline's row: who runs, and who waits, in order."""

    running: str = ""
    waiting: list[str] = []


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision needs and gives: the pipeline's lane, and the executions that it names."""

    lane: Lane = Lane()
    executions: dict[str, Execution] = {}


def pipeline_of(execution: str) -> str:
    """The pipeline that an execution's id names."""
    return execution.rpartition("-")[0]
