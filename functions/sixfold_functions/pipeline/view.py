"""What people see of executions: a fold of `pipeline.events`, the same for every command. Pure."""

from __future__ import annotations

import msgspec

from sixfold_events import Event
from sixfold_events import pipeline as events
from sixfold_functions.pipeline.model import Definition, Status, pipeline_of

ENDED = (Status.SUCCEEDED.value, Status.FAILED.value, Status.SUPERSEDED.value)


class ActionView(msgspec.Struct, kw_only=True):
    """An action as shown."""

    name: str
    category: str
    status: str = ""
    """Empty before it begins; then `InProgress`, `Succeeded` or `Failed`."""
    action_execution: str = ""
    """Its newest attempt."""
    step: str = ""
    """What it does just now."""
    summary: str = ""
    reason: str = ""
    log_tail: str = ""
    artifact: str = ""
    started_at_ms: int = 0
    ended_at_ms: int = 0


class StageView(msgspec.Struct, kw_only=True):
    """A stage as shown."""

    name: str
    status: str = ""
    actions: list[ActionView] = []


class ExecutionView(msgspec.Struct, kw_only=True):
    """An execution as shown."""

    pipeline: str
    execution: str
    name: str
    repository: str
    ref: str
    commit: str
    pusher: str
    status: str
    reason: str = ""
    stages: list[StageView] = []
    triggered_at_ms: int
    ended_at_ms: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless it is retried."""
        return self.status in ENDED

    def failed_action(self) -> ActionView | None:
        """The action at which it failed, None where its definition is at fault."""
        return self._first(Status.FAILED)

    def running_action(self) -> ActionView | None:
        """The action that it waits for, None where none runs."""
        return self._first(Status.RUNNING)

    def _first(self, status: Status) -> ActionView | None:
        actions = (action for stage in self.stages for action in stage.actions)
        return next((action for action in actions if action.status == status.value), None)


class View:
    """All executions, oldest first."""

    def __init__(self) -> None:
        self.executions: dict[str, ExecutionView] = {}

    def fold(self, event: Event) -> ExecutionView | None:
        """Take in one event; the execution that it changed."""
        if isinstance(event, events.PipelineTriggered):
            if event.execution not in self.executions:
                self.executions[event.execution] = _new(event)
            return self.executions[event.execution]
        found = self.executions.get(getattr(event, "execution", ""))
        if found is not None:
            _change(found, event)
        return found

    def find(self, text: str) -> ExecutionView | None:
        """The execution of this id, else the newest one of the pipeline of this name."""
        if text in self.executions:
            return self.executions[text]
        return next((each for each in reversed(self.executions.values()) if each.pipeline == text), None)


def _new(event: events.PipelineTriggered) -> ExecutionView:
    stages = [StageView(name="source", status=Status.SUCCEEDED.value)]
    if event.definition:
        stages += [
            StageView(
                name=stage.name,
                actions=[ActionView(name=action.name, category=type(action).__name__) for action in stage.actions],
            )
            for stage in msgspec.json.decode(event.definition, type=Definition).stages
        ]
    else:
        stages[0].status = Status.FAILED.value
    return ExecutionView(
        pipeline=event.pipeline,
        execution=event.execution,
        name=event.name or pipeline_of(event.execution),
        repository=event.repository,
        ref=event.ref,
        commit=event.commit,
        pusher=event.pusher,
        status="",
        stages=stages,
        triggered_at_ms=event.triggered_at_ms,
    )


def _change(found: ExecutionView, event: Event) -> None:
    match event:
        case events.PipelineQueued():
            found.status = Status.WAITING.value
        case events.PipelineStarted():
            found.status, found.reason, found.ended_at_ms = Status.RUNNING.value, "", 0
        case events.PipelineSucceeded():
            found.status, found.ended_at_ms = Status.SUCCEEDED.value, event.at_ms
        case events.PipelineFailed():
            found.status, found.reason, found.ended_at_ms = Status.FAILED.value, event.reason, event.at_ms
            for stage in found.stages:
                if stage.name == event.stage:
                    stage.status = Status.FAILED.value
        case events.PipelineSuperseded():
            found.status, found.reason = Status.SUPERSEDED.value, f"a newer push runs instead: {event.by}"
            found.ended_at_ms = event.at_ms
        case events.StageStarted():
            _stage(found, event.stage).status = Status.RUNNING.value
        case events.StageSucceeded():
            _stage(found, event.stage).status = Status.SUCCEEDED.value
        case events.ActionStarted():
            stage = _stage(found, event.stage)
            stage.actions = [
                ActionView(
                    name=action.name,
                    category=action.category,
                    status=Status.RUNNING.value,
                    action_execution=event.action_execution,
                    started_at_ms=event.at_ms,
                )
                if action.name == event.action
                else action
                for action in stage.actions
            ]
        case events.ActionProgressed() | events.ActionSucceeded() | events.ActionFailed():
            for stage in found.stages:
                for action in stage.actions:
                    if action.action_execution == event.action_execution and action.status == Status.RUNNING.value:
                        _act(action, event)


def _act(action: ActionView, event: events.ActionProgressed | events.ActionSucceeded | events.ActionFailed) -> None:
    if isinstance(event, events.ActionProgressed):
        action.step = f"{event.step} of {event.steps}: {event.text}"
        return
    action.step, action.ended_at_ms = "", event.at_ms
    if isinstance(event, events.ActionSucceeded):
        action.status, action.summary, action.artifact = Status.SUCCEEDED.value, event.summary, event.artifact
    else:
        action.status, action.reason, action.log_tail = Status.FAILED.value, event.reason, event.log_tail


def _stage(found: ExecutionView, name: str) -> StageView:
    return next(stage for stage in found.stages if stage.name == name)
