"""The pipeline's functions: a push becomes a trigger, the table advances, builders build, deployments report back."""

from __future__ import annotations

import asyncio

import msgspec

from sixfold import Context, Retry, clock, function, publisher
from sixfold_events import pipeline as events
from sixfold_events.deploy import DeploymentFinished, DeploymentRequested
from sixfold_events.git import NO_COMMIT, GitPushed
from sixfold_functions.git import client as git
from sixfold_functions.pipeline import builder, core, definition, trigger
from sixfold_functions.pipeline.model import Execution, Lane, State, pipeline_of

BUILD_RETRY = Retry(attempts_max=5, backoff_s=1.0)
AROUND_BUILD_S = 3600.0
"""For a build's working copy and artifact, beside the `timeout_s` of its commands."""
BUILD_TIMEOUT_S = definition.TIMEOUT_S_MAX + 2 * AROUND_BUILD_S
"""Never reached: the build is ended before, with its reason instead of a dead letter."""


@function(name="pipeline.source", on=GitPushed, emits=[events.PipelineTriggered])
async def source(push: GitPushed, ctx: Context) -> None:
    """Read `pipeline.yaml` at the pushed commit, and ask for an execution where it wants one."""
    if push.new == NO_COMMIT or not push.ref.startswith("refs/heads/"):
        return
    repositories = await ctx.resource(git.open_repositories)
    triggered = await asyncio.to_thread(trigger.of, push, ctx.event_id, repositories, clock.now_ms(ctx.clock))
    if triggered is not None:
        ctx.emit(triggered)


@function(
    name="pipeline.advance",
    on=[events.PipelineTriggered, events.PipelineRetryRequested, events.ActionSucceeded, events.ActionFailed],
    emits=[
        *(events.PipelineQueued, events.PipelineStarted, events.StageStarted, events.StageSucceeded),
        *(events.ActionStarted, events.PipelineSucceeded, events.PipelineFailed, events.PipelineSuperseded),
        *(events.BuildRequested, DeploymentRequested),
    ],
    tables=["lanes", "executions"],
)
async def advance(event: core.Input, ctx: Context) -> None:
    """Move an execution on by what happened."""
    lanes, executions = ctx.table("lanes"), ctx.table("executions")
    lane = msgspec.convert(await lanes.get(event.pipeline, {}), Lane)
    rows = {name: await executions.get(name) for name in core.rows_of(lane, event)}
    known = {name: msgspec.convert(row, Execution) for name, row in rows.items() if row is not None}
    state, out = core.decide(State(lane=lane, executions=known), event, clock.now_ms(ctx.clock))
    if state.lane != lane:
        lanes.put(event.pipeline, state.lane)
    for name, execution in state.executions.items():
        if execution != known.get(name):
            executions.put(name, execution)
    ctx.emit(*out)


@function(
    name="pipeline.build",
    on=events.BuildRequested,
    emits=[events.ActionProgressed, events.ActionSucceeded, events.ActionFailed],
    ordering="none",
    concurrency=2,
    timeout_s=BUILD_TIMEOUT_S,
    retry=BUILD_RETRY,
)
async def build(request: events.BuildRequested, ctx: Context) -> None:
    """Run a build's commands in a working copy of its commit, and keep its artifact."""
    ids = {"pipeline": request.pipeline, "execution": request.execution, "action_execution": request.action_execution}

    async def progress(step: int, steps: int, text: str) -> None:
        # At once, not when the handler returns: somebody watches.
        event = events.ActionProgressed(**ids, step=step, steps=steps, text=text[:200], at_ms=clock.now_ms(ctx.clock))
        record = publisher.record_of(
            event,
            source="/functions/pipeline.build",
            clock=ctx.clock,
            event_id=f"{request.action_execution}.progress.{step}",
            correlation_id=ctx.attributes.correlation_id,
        )
        await ctx.process.require_bus().publish([record])

    limit = asyncio.timeout(request.timeout_s + AROUND_BUILD_S)
    try:
        builds = await ctx.resource(builder.open_builder)
        async with limit:
            result = await builds.build(request, progress)
    except Exception as error:
        if ctx.attempt < BUILD_RETRY.attempts_max and not limit.expired():
            raise
        # The last attempt: the execution must end, whatever is wrong with this machine.
        said = str(error) or type(error).__name__
        if limit.expired():
            said = f"it did not end within {AROUND_BUILD_S:.0f} s beyond the build's timeout_s"
        result = builder.BuildResult(succeeded=False, reason=f"the builder failed: {said}")
    now_ms = clock.now_ms(ctx.clock)
    if result.succeeded:
        ctx.emit(events.ActionSucceeded(**ids, artifact=result.artifact, summary=result.summary, at_ms=now_ms))
    else:
        ctx.emit(events.ActionFailed(**ids, reason=result.reason, log_tail=result.log_tail, at_ms=now_ms))


@function(name="pipeline.deployed", on=DeploymentFinished, emits=[events.ActionSucceeded, events.ActionFailed])
async def deployed(finished: DeploymentFinished, ctx: Context) -> None:
    """Tell an execution that the deployment which it asked for has ended."""
    creator, _, execution = finished.creator.partition(":")
    if creator != "pipeline":
        return
    ids = {
        "pipeline": pipeline_of(execution),
        "execution": execution,
        "action_execution": finished.deployment_id,
    }
    now_ms = clock.now_ms(ctx.clock)
    if finished.status == "Succeeded":
        summary = f"deployment {finished.deployment_id} to {finished.group}"
        ctx.emit(events.ActionSucceeded(**ids, artifact="", summary=summary, at_ms=now_ms))
    else:
        reason = f"deployment {finished.deployment_id} to {finished.group} failed: {finished.reason}"
        ctx.emit(events.ActionFailed(**ids, reason=reason, log_tail="", at_ms=now_ms))
