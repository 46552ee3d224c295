"""The transition table: what follows from an event, and what nothing follows from."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold_events import Event
from sixfold_events import pipeline as events
from sixfold_events.deploy import DeploymentRequested
from sixfold_functions.pipeline import core
from sixfold_functions.pipeline.model import Artifact, Build, Definition, Deploy, Stage, State, Status

DEFINITION = Definition(
    name="web",
    branches=["main"],
    stages=[
        Stage(
            name="build",
            actions=[Build(name="build", commands=["make"], artifact=Artifact(base_directory="dist", files=["**/*"]))],
        ),
        Stage(name="deploy", actions=[Deploy(name="deploy", application="web", group="production")]),
    ],
)
ARTIFACT = "f" * 64


def triggered(number: int, ref: str = "refs/heads/main", problem: str = "") -> events.PipelineTriggered:
    return events.PipelineTriggered(
        pipeline="web",
        execution=f"web-{number:016x}",
        name="" if problem else "web",
        repository="web",
        ref=ref,
        commit=f"{number:040x}",
        pusher="operator:bootstrap",
        definition="" if problem else msgspec.json.encode(DEFINITION).decode(),
        problem=problem,
        triggered_at_ms=1,
    )


def succeeded(action: str, artifact: str = "") -> events.ActionSucceeded:
    execution = action.split(".")[0]
    return events.ActionSucceeded(
        pipeline="web", execution=execution, action_execution=action, artifact=artifact, summary="", at_ms=2
    )


def failed(action: str) -> events.ActionFailed:
    return events.ActionFailed(
        pipeline="web", execution=action.split(".")[0], action_execution=action, reason="no", log_tail="", at_ms=2
    )


def retry(action: str) -> events.PipelineRetryRequested:
    return events.PipelineRetryRequested(
        pipeline="web", execution=action.split(".")[0], failed=action, requested_by="operator:bootstrap"
    )


def run(*inputs: core.Input) -> tuple[State, list[Event]]:
    state, out = State(), []
    for event in inputs:
        state, more = core.decide(state, event, 3)
        out += more
    return state, out


def names(out: list[Event]) -> list[str]:
    return [type(event).__name__ for event in out]


def test_a_push_is_built_deployed_and_done() -> None:
    """Source, build, deploy: each stage begins when the one before it has succeeded, with what that made."""
    state, out = run(triggered(1), succeeded("web-0000000000000001.0.0.1", ARTIFACT))
    assert names(out) == [
        *("PipelineStarted", "StageStarted", "ActionStarted", "BuildRequested"),
        *("StageSucceeded", "StageStarted", "ActionStarted", "DeploymentRequested"),
    ]
    build, deploy = out[3], out[-1]
    assert isinstance(build, events.BuildRequested)
    assert (build.commit, build.commands, build.artifact_base) == (f"{1:040x}", ["make"], "dist")
    assert isinstance(deploy, DeploymentRequested)
    assert (deploy.artifact, deploy.revision, deploy.group) == (ARTIFACT, f"{1:040x}", "production")
    assert deploy.creator == "pipeline:web-0000000000000001"
    state, out = core.decide(state, succeeded("web-0000000000000001.1.0.1"), 3)
    assert names(out) == ["StageSucceeded", "PipelineSucceeded"]
    assert state.executions["web-0000000000000001"].status is Status.SUCCEEDED
    assert state.lane.running == ""


def test_a_failed_action_ends_the_execution_and_a_retry_goes_on_at_it() -> None:
    """The retried action is another attempt; a late result of the old one is not taken for its."""
    first = "web-0000000000000001.0.0.1"
    state, out = run(triggered(1), failed(first))
    assert names(out)[-1] == "PipelineFailed"
    state, out = core.decide(state, retry(first), 3)
    assert names(out) == ["PipelineStarted", "StageStarted", "ActionStarted", "BuildRequested"]
    assert core.decide(state, succeeded(first, ARTIFACT), 3) == (state, [])
    assert core.decide(state, retry(first), 3) == (state, [])
    state, out = core.decide(state, succeeded("web-0000000000000001.0.0.2", ARTIFACT), 3)
    assert names(out)[-1] == "DeploymentRequested"


def test_a_push_meanwhile_waits_and_a_newer_one_takes_its_place() -> None:
    """One execution runs; of those that wait, each branch keeps its newest, and all run in the order they came."""
    state, out = run(triggered(1), triggered(2), triggered(3, "refs/heads/dev"), triggered(4))
    assert names(out)[4:] == ["PipelineQueued", "PipelineQueued", "PipelineQueued", "PipelineSuperseded"]
    assert state.lane.waiting == [f"web-{3:016x}", f"web-{4:016x}"]
    assert state.executions[f"web-{2:016x}"].status is Status.SUPERSEDED
    state, out = core.decide(state, failed(f"web-{1:016x}.0.0.1"), 3)
    assert names(out)[:2] == ["PipelineFailed", "PipelineStarted"]
    assert state.lane.running == f"web-{3:016x}"


def test_a_definition_that_cannot_be_used_fails_at_once_and_holds_nobody_up() -> None:
    """The failure has the file and line; it takes no place in the queue and no retry can mend it."""
    problem = "pipeline.yaml:3: stages: expected a list"
    state, out = run(triggered(1, problem=problem))
    (event,) = out
    assert isinstance(event, events.PipelineFailed)
    assert event.reason == problem
    assert core.decide(state, retry(f"web-{1:016x}.0.0.1"), 3) == (state, [])
    assert names(core.decide(state, triggered(2), 3)[1])[0] == "PipelineStarted"


def test_every_row_of_the_table_is_reached_by_an_event_that_it_names() -> None:
    """The table has rows for inputs only, and no row that nothing can use."""
    assert {status for status, _ in core.TRANSITIONS} <= {Status.RUNNING, Status.FAILED}
    inputs = {events.ActionSucceeded, events.ActionFailed, events.PipelineRetryRequested}
    assert {event for _, event in core.TRANSITIONS} == inputs


numbers = st.integers(1, 4)
actions = st.builds("web-{:016x}.{}.0.{}".format, numbers, st.integers(0, 1), st.integers(1, 2))
inputs = st.one_of(
    st.builds(triggered, numbers, st.sampled_from(["refs/heads/main", "refs/heads/dev"])),
    st.builds(triggered, numbers, problem=st.just("pipeline.yaml:1: no")),
    st.builds(succeeded, actions, st.just(ARTIFACT)),
    st.builds(failed, actions),
    st.builds(retry, actions),
)


@settings(max_examples=400)
@given(st.lists(inputs, max_size=40))
def test_no_order_and_no_repetition_of_events_breaks_the_state(history: list[core.Input]) -> None:
    """Whatever comes, however often: one execution runs, those that wait are waiting, a repeated event does nothing."""
    state, out = State(), []
    for event in history:
        needed = core.rows_of(state.lane, event)
        part = State(lane=state.lane, executions={k: v for k, v in state.executions.items() if k in needed})
        after, more = core.decide(part, event, 3)
        state = State(lane=after.lane, executions={**state.executions, **after.executions})
        assert core.decide(after, event, 3) == (after, []), "a repeated event did something"
        out += more
        by_status = {status: [k for k, v in state.executions.items() if v.status is status] for status in Status}
        assert by_status[Status.RUNNING] == ([state.lane.running] if state.lane.running else [])
        assert sorted(by_status[Status.WAITING]) == sorted(state.lane.waiting)
        assert state.lane.running or not state.lane.waiting, "somebody waits and nobody runs"
    work = [e for e in out if isinstance(e, events.BuildRequested | DeploymentRequested)]
    ids = [e.action_execution if isinstance(e, events.BuildRequested) else e.deployment_id for e in work]
    assert len(ids) == len(set(ids)), "an action was handed out twice"
