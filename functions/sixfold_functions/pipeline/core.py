"""What follows from an event of a pipeline: one table, and what each of its rows does. Pure.

One execution of a pipeline runs at a time. Those that come meanwhile wait, at most one for each branch: a newer push
takes the place of the one that waits, which is then Superseded (CodePipeline's SUPERSEDED mode, with the whole
pipeline as one stage). An event that does not fit, such as a result that comes twice, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from sixfold_events import Event
from sixfold_events import pipeline as events
from sixfold_events.deploy import DeploymentRequested
from sixfold_functions.pipeline.model import Build, Definition, Execution, Lane, Stage, State, Status

Decision = tuple[State, list[Event]]
Step = Callable[[State, Execution, Event, int], Decision]
Input = events.PipelineTriggered | events.PipelineRetryRequested | events.ActionSucceeded | events.ActionFailed


def decide(state: State, event: Input, now_ms: int) -> Decision:
    """The state after `event`, and what to publish. `state` holds the rows that `rows_of` names, where they exist."""
    current = state.executions.get(event.execution)
    if isinstance(event, events.PipelineTriggered):
        return (state, []) if current else _admit(state, event, now_ms)
    step = TRANSITIONS.get((current.status, type(event))) if current else None
    if current is None or step is None or not _is_meant(current, event):
        return state, []
    return step(state, current, event, now_ms)


def rows_of(lane: Lane, event: Input) -> list[str]:
    """Executions whose rows a decision on `event` may need."""
    return list(dict.fromkeys([event.execution, *([lane.running] if lane.running else []), *lane.waiting]))


def _is_meant(current: Execution, event: Input) -> bool:
    """Whether the event speaks of the action at which the execution stands, in this attempt."""
    named = event.failed if isinstance(event, events.PipelineRetryRequested) else getattr(event, "action_execution", "")
    return named == current.action_execution


def _admit(state: State, event: events.PipelineTriggered, now_ms: int) -> Decision:
    definition = None if event.problem else msgspec.json.decode(event.definition, type=Definition)
    new = Execution(
        pipeline=event.pipeline,
        execution=event.execution,
        repository=event.repository,
        ref=event.ref,
        commit=event.commit,
        definition=definition,
        status=Status.WAITING if definition else Status.FAILED,
    )
    if definition is None:
        failed = events.PipelineFailed(
            pipeline=new.pipeline, execution=new.execution, stage="", action="", reason=event.problem, at_ms=now_ms
        )
        return _with(state, new), [failed]
    if not state.lane.running:
        return _begin(_with(state, new), new, now_ms)
    queued = events.PipelineQueued(
        pipeline=new.pipeline, execution=new.execution, behind=state.lane.running, at_ms=now_ms
    )
    out: list[Event] = [queued]
    waiting = list(state.lane.waiting)
    for name in state.lane.waiting:
        older = state.executions[name]
        if older.ref == new.ref:
            waiting.remove(name)
            state = _with(state, msgspec.structs.replace(older, status=Status.SUPERSEDED))
            out.append(
                events.PipelineSuperseded(pipeline=older.pipeline, execution=name, by=new.execution, at_ms=now_ms)
            )
    return _with(state, new, Lane(running=state.lane.running, waiting=[*waiting, new.execution])), out


def _succeed(state: State, current: Execution, event: Event, now_ms: int) -> Decision:
    stages, artifact = _stages(current), cast("events.ActionSucceeded", event).artifact or current.artifact
    stage = stages[current.stage]
    if current.action + 1 < len(stage.actions):
        onward = msgspec.structs.replace(current, action=current.action + 1, artifact=artifact)
        return _with(state, onward), _start_action(onward, now_ms)
    done = events.StageSucceeded(pipeline=current.pipeline, execution=current.execution, stage=stage.name, at_ms=now_ms)
    if current.stage + 1 < len(stages):
        onward = msgspec.structs.replace(current, stage=current.stage + 1, action=0, artifact=artifact)
        return _with(state, onward), [done, *_start_stage(onward, now_ms)]
    ended = msgspec.structs.replace(current, status=Status.SUCCEEDED, artifact=artifact)
    succeeded = events.PipelineSucceeded(pipeline=current.pipeline, execution=current.execution, at_ms=now_ms)
    state, out = _next(_with(state, ended), now_ms)
    return state, [done, succeeded, *out]


def _fail(state: State, current: Execution, event: Event, now_ms: int) -> Decision:
    stage = _stages(current)[current.stage]
    failed = events.PipelineFailed(
        pipeline=current.pipeline,
        execution=current.execution,
        stage=stage.name,
        action=stage.actions[current.action].name,
        reason=cast("events.ActionFailed", event).reason,
        at_ms=now_ms,
    )
    state, out = _next(_with(state, msgspec.structs.replace(current, status=Status.FAILED)), now_ms)
    return state, [failed, *out]


def _retry(state: State, current: Execution, event: Event, now_ms: int) -> Decision:
    del event
    if current.definition is None:
        return state, []
    again = msgspec.structs.replace(current, status=Status.WAITING, attempt=current.attempt + 1)
    if not state.lane.running:
        return _begin(_with(state, again), again, now_ms)
    # It queues behind everyone and takes nobody's place: it may be older than what waits.
    lane = Lane(running=state.lane.running, waiting=[*state.lane.waiting, again.execution])
    queued = events.PipelineQueued(
        pipeline=again.pipeline, execution=again.execution, behind=lane.running, at_ms=now_ms
    )
    return _with(state, again, lane), [queued]


TRANSITIONS: dict[tuple[Status, type[Event]], Step] = {
    (Status.RUNNING, events.ActionSucceeded): _succeed,
    (Status.RUNNING, events.ActionFailed): _fail,
    (Status.FAILED, events.PipelineRetryRequested): _retry,
}
"""Status and event to what is done; a pair that is not here changes nothing. `PipelineTriggered` makes an execution:
Failed where its definition cannot be used, else InProgress, or Waiting where another one of the pipeline runs."""


def _next(state: State, now_ms: int) -> Decision:
    """The running execution has ended: the first that waits begins."""
    if not state.lane.waiting:
        return msgspec.structs.replace(state, lane=Lane()), []
    name, *rest = state.lane.waiting
    state = msgspec.structs.replace(state, lane=Lane(waiting=rest))
    return _begin(state, state.executions[name], now_ms)


def _begin(state: State, waiting: Execution, now_ms: int) -> Decision:
    runs = msgspec.structs.replace(waiting, status=Status.RUNNING)
    lane = Lane(running=runs.execution, waiting=[name for name in state.lane.waiting if name != runs.execution])
    started = events.PipelineStarted(pipeline=runs.pipeline, execution=runs.execution, at_ms=now_ms)
    return _with(state, runs, lane), [started, *_start_stage(runs, now_ms)]


def _start_stage(runs: Execution, now_ms: int) -> list[Event]:
    name = _stages(runs)[runs.stage].name
    started = events.StageStarted(pipeline=runs.pipeline, execution=runs.execution, stage=name, at_ms=now_ms)
    return [started, *_start_action(runs, now_ms)]


def _start_action(runs: Execution, now_ms: int) -> list[Event]:
    stage = _stages(runs)[runs.stage]
    action = stage.actions[runs.action]
    started = events.ActionStarted(
        pipeline=runs.pipeline,
        execution=runs.execution,
        stage=stage.name,
        action=action.name,
        category=type(action).__name__,
        action_execution=runs.action_execution,
        at_ms=now_ms,
    )
    if isinstance(action, Build):
        return [started, _build(runs, stage, action)]
    deploy = DeploymentRequested(
        deployment_id=runs.action_execution,
        application=action.application,
        group=action.group,
        revision=runs.commit,
        artifact=runs.artifact,
        appspec=action.appspec,
        creator=f"pipeline:{runs.execution}",
    )
    return [started, deploy]


def _build(runs: Execution, stage: Stage, action: Build) -> events.BuildRequested:
    return events.BuildRequested(
        pipeline=runs.pipeline,
        execution=runs.execution,
        stage=stage.name,
        action=action.name,
        action_execution=runs.action_execution,
        repository=runs.repository,
        ref=runs.ref,
        commit=runs.commit,
        commands=action.commands,
        timeout_s=action.timeout_s,
        artifact_base=action.artifact.base_directory if action.artifact else "",
        artifact_files=action.artifact.files if action.artifact else [],
    )


def _stages(execution: Execution) -> list[Stage]:
    assert execution.definition is not None, f"{execution.execution} has no definition, so it cannot run"
    return execution.definition.stages


def _with(state: State, execution: Execution, lane: Lane | None = None) -> State:
    return State(
        lane=state.lane if lane is None else lane,
        executions={**state.executions, execution.execution: execution},
    )
