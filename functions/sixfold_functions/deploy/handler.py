"""The deploy functions: `deploy.start` looks at requests, `deploy.step` moves a group's deployments.

All that `deploy.step` consumes lies on one topic keyed by group, so one partition, one table and one order hold all
of a group. Time is the record's, so that a redelivery decides the same.
"""

from __future__ import annotations

import msgspec

from sixfold import Context, function, objects
from sixfold_events import deploy as events
from sixfold_functions.deploy import client, command, core, prepare, settings, signing, state

_SEEN_AGAIN_MS = 60_000
"""`deploy.instances` is told of an instance that is still there no more often than this."""


@function(name="deploy.start", on=events.DeploymentRequested, emits=[events.DeploymentPrepared], timeout_s=300.0)
async def start(event: events.DeploymentRequested, ctx: Context) -> None:
    """Look at a request's artifact and AppSpec, then let its group have it."""
    problem = await prepare.problem_of(event, await ctx.resource(objects.open_objects))
    ctx.emit(events.DeploymentPrepared(**msgspec.structs.asdict(event), problem=problem))


@function(
    name="deploy.step",
    on=[
        events.DeploymentPrepared,
        events.DeploymentStepReported,
        events.DeploymentDue,
        events.AgentSeen,
        events.AgentForgotten,
    ],
    emits=[
        events.DeploymentCommanded,
        events.DeploymentChanged,
        events.DeploymentTargetChanged,
        events.DeploymentFinished,
        events.DeploymentTimerSet,
        events.InstanceChanged,
    ],
    tables=["groups", "instances"],
)
async def step(event: core.GroupEvent, ctx: Context) -> None:
    """Move a group's deployments: one at a time, one instance at a time, back to the last good revision on failure."""
    groups = ctx.table("groups")
    stored = await groups.get(event.group)
    before = msgspec.convert(stored, state.Group) if stored else state.Group(name=event.group)
    limits = (await ctx.resource(settings.open_settings)).limits
    now_ms = ctx.record.timestamp_ms
    known: tuple[str, ...] = ()
    if isinstance(event, events.DeploymentPrepared) and not before.instances:
        known = await client.groups(ctx.process)
    after, effects = core.decide(before, event, now_ms, limits, known)
    if after != before:
        groups.put(event.group, msgspec.to_builtins(after))
    for effect in effects:
        match effect:
            case state.Command():
                await _command(effect, after.name, now_ms, limits, ctx)
            case state.DeploymentMoved():
                _announce(effect.deployment, after.name, now_ms, ctx)
            case state.TargetMoved():
                ctx.emit(
                    events.DeploymentTargetChanged(
                        target=f"{effect.deployment_id}/{effect.instance}",
                        deployment_id=effect.deployment_id,
                        instance=effect.instance,
                        status=effect.status,
                        message=effect.message,
                        changed_at_ms=now_ms,
                    )
                )
            case state.Timer():
                ctx.emit(
                    events.DeploymentTimerSet(
                        group=after.name, deployment_id=effect.deployment_id, due_at_ms=effect.due_ms
                    )
                )
    if isinstance(event, events.AgentSeen | events.AgentForgotten):
        await _register(event, now_ms, ctx)


async def _command(effect: state.Command, group: str, now_ms: int, limits: core.Limits, ctx: Context) -> None:
    deployment, goal = effect.deployment, effect.deployment.goal
    order = command.Command(
        command_id=f"{deployment.id}/{effect.instance}",
        instance=effect.instance,
        group=group,
        deployment_id=deployment.id,
        application=goal.application,
        revision=goal.revision,
        artifact=goal.artifact,
        appspec=goal.appspec,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + limits.answer_ms,
    )
    payload, signature = command.sign(order, await ctx.resource(signing.open_signer))
    ctx.emit(
        events.DeploymentCommanded(
            instance=effect.instance,
            command_id=order.command_id,
            deployment_id=deployment.id,
            artifact=goal.artifact,
            payload=payload,
            signature=signature,
            expires_at_ms=order.expires_at_ms,
        )
    )


def _announce(deployment: state.Deployment, group: str, now_ms: int, ctx: Context) -> None:
    goal = deployment.goal
    ctx.emit(
        events.DeploymentChanged(
            deployment_id=deployment.id,
            application=goal.application,
            group=group,
            revision=goal.revision,
            creator=deployment.creator,
            status=deployment.status,
            reason=deployment.reason,
            rollback_id=deployment.rollback_id,
            created_at_ms=deployment.created_ms,
            changed_at_ms=now_ms,
        )
    )
    if deployment.status in (state.SUCCEEDED, state.FAILED):
        ctx.emit(
            events.DeploymentFinished(
                deployment_id=deployment.id,
                application=goal.application,
                group=group,
                revision=goal.revision,
                creator=deployment.creator,
                status=deployment.status,
                reason=deployment.reason,
            )
        )


async def _register(event: events.AgentSeen | events.AgentForgotten, now_ms: int, ctx: Context) -> None:
    """Keep the table of registrations, and announce an instance that is new, gone, or still there."""
    instances = ctx.table("instances")
    key = f"{event.group}/{event.instance}"
    row: dict[str, int] | None = await instances.get(key)
    forgotten = isinstance(event, events.AgentForgotten)
    if forgotten:
        instances.delete(key)
    elif row is not None and now_ms - row["announced_ms"] < _SEEN_AGAIN_MS:
        return
    first_seen_ms = row["first_seen_ms"] if row else now_ms
    if not forgotten:
        instances.put(key, {"first_seen_ms": first_seen_ms, "announced_ms": now_ms})
    if forgotten and row is None:
        return
    ctx.emit(
        events.InstanceChanged(
            instance=event.instance,
            group=event.group,
            first_seen_at_ms=first_seen_ms,
            last_seen_at_ms=now_ms,
            forgotten=forgotten,
        )
    )
