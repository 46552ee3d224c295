"""Events of the pipeline room. All facts of all executions are one topic, `pipeline.events`, keyed by pipeline.

One topic, so that the facts of a pipeline have one order: the transition table reads its inputs there and the command
line folds the same records into what it shows. Work for builders is a topic of its own, spread by execution.
"""

from __future__ import annotations

from sixfold_events.event import Event

TOPIC = "pipeline.events"


class PipelineTriggered(Event, topic=TOPIC, key="pipeline"):
    """A push wants an execution: the commit, and the definition found at it or what is wrong with that."""

    pipeline: str
    """The pipeline; there is one for each repository, and it has the repository's name."""
    execution: str
    """`<pipeline>-<16 hex digits>`, derived from the push event's id: a redelivery names the same execution."""
    name: str
    """The name that `pipeline.yaml` gives it; empty where that could not be read."""
    repository: str
    ref: str
    commit: str
    pusher: str
    definition: str
    """The checked definition as JSON; empty where there is a problem."""
    problem: str
    """Why `pipeline.yaml` cannot be used, with file and line; empty where it can."""
    triggered_at_ms: int


class PipelineRetryRequested(Event, topic=TOPIC, key="pipeline"):
    """Somebody wants a failed execution to go on at the action that failed."""

    pipeline: str
    execution: str
    failed: str
    """The action execution that failed; a request that comes twice retries it once."""
    requested_by: str


class PipelineQueued(Event, topic=TOPIC, key="pipeline"):
    """Another execution of the pipeline runs; this one waits for it."""

    pipeline: str
    execution: str
    behind: str
    """The execution that runs."""
    at_ms: int


class PipelineStarted(Event, topic=TOPIC, key="pipeline"):
    """An execution has begun, or goes on after a retry."""

    pipeline: str
    execution: str
    at_ms: int


class StageStarted(Event, topic=TOPIC, key="pipeline", type="pipeline.stage.started"):
    """An execution entered a stage."""

    pipeline: str
    execution: str
    stage: str
    at_ms: int


class StageSucceeded(Event, topic=TOPIC, key="pipeline", type="pipeline.stage.succeeded"):
    """Every action of a stage has succeeded."""

    pipeline: str
    execution: str
    stage: str
    at_ms: int


class ActionStarted(Event, topic=TOPIC, key="pipeline", type="pipeline.action.started"):
    """An action was handed to who carries it out."""

    pipeline: str
    execution: str
    stage: str
    action: str
    category: str
    """`Build` or `Deploy`."""
    action_execution: str
    """`<execution>.<stage>.<action>.<attempt>` with stage and action as numbers; the idempotency key of the work."""
    at_ms: int


class ActionProgressed(Event, topic=TOPIC, key="pipeline", type="pipeline.action.progressed"):
    """A step of an action begins; only for those who watch."""

    pipeline: str
    execution: str
    action_execution: str
    step: int
    """1 for the first."""
    steps: int
    text: str
    at_ms: int


class ActionSucceeded(Event, topic=TOPIC, key="pipeline", type="pipeline.action.succeeded"):
    """An action has done its work."""

    pipeline: str
    execution: str
    action_execution: str
    artifact: str
    """sha256 of what it made, in the object store; empty where it made nothing."""
    summary: str
    at_ms: int


class ActionFailed(Event, topic=TOPIC, key="pipeline", type="pipeline.action.failed"):
    """An action has failed; nothing will try it again but a retry of the execution."""

    pipeline: str
    execution: str
    action_execution: str
    reason: str
    log_tail: str
    """The last lines of its output; empty where there is none."""
    at_ms: int


class PipelineSucceeded(Event, topic=TOPIC, key="pipeline"):
    """Every stage of an execution has succeeded."""

    pipeline: str
    execution: str
    at_ms: int


class PipelineFailed(Event, topic=TOPIC, key="pipeline"):
    """An execution stopped at a failure, or its definition cannot be used."""

    pipeline: str
    execution: str
    stage: str
    """Where it failed; empty where the definition is at fault."""
    action: str
    reason: str
    at_ms: int


class PipelineSuperseded(Event, topic=TOPIC, key="pipeline"):
    """A waiting execution will not run: a newer push to the same branch took its place."""

    pipeline: str
    execution: str
    by: str
    at_ms: int


class BuildRequested(Event, topic="pipeline.builds", key="execution", type="pipeline.build.requested"):
    """Work for a builder: these commands in a working copy of that commit."""

    pipeline: str
    execution: str
    stage: str
    action: str
    action_execution: str
    repository: str
    ref: str
    commit: str
    commands: list[str]
    timeout_s: int
    artifact_base: str
    """Folder in the working copy that the artifact's paths begin at."""
    artifact_files: list[str]
    """Glob patterns below it; empty where the build makes no artifact."""
