"""The deploy functions: `deploy.start` looks at requests, `deploy.step` moves a group's deployments.

All that `deploy.step` consumes lies on one topic keyed by group, so one partition, one table and one order hold all
of a group. Time is the record's, so that a redelivery decides the same.

A deployment ends, whatever is wrong with this machine: what the last attempt cannot do is the reason why it failed,
instead of a dead letter that somebody waits behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sixfold import Context, Retry, function, objects
from sixfold_events import deploy as events
from sixfold_functions.deploy import client, command, core, prepare, settings, signing, state

_SEEN_AGAIN_MS = 60_000
"""`deploy.instances` is told of an instance that is still there no more often than this."""
RETRY = Retry()
"""Ten attempts in about a minute and a half: a disk that is full for longer is somebody's to mend."""
PREPARE_S, PREPARE_MARGIN_S = 270.0, 30.0
"""For looking at an artifact of the largest size; our own limit comes before the function's, which would park."""


@function(
    name="deploy.start",
    on=events.DeploymentRequested,
    emits=[events.DeploymentPrepared],
    timeout_s=PREPARE_S + PREPARE_MARGIN_S,
    retry=RETRY,
)
async def start(event: events.DeploymentRequested, ctx: Context) -> None:
    """Look at a request's artifact and AppSpec, then let its group have it."""
    try:
        async with asyncio.timeout(PREPARE_S):
            problem = await prepare.problem_of(event, await ctx.resource(objects.open_objects))
    except Exception as error:
        if not _is_last(ctx):
            raise
        problem = f"artifact {event.artifact} cannot be looked at, in {ctx.attempt} attempts: {_said(error)}"
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
    retry=RETRY,
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
        known = await _known_groups(ctx)
    after, effects = core.decide(before, event, now_ms, limits, known)
    try:
        commands = iter(await _signed(effects, before.name, now_ms, limits, ctx))
    except Exception as error:
        if not _is_last(ctx):
            raise
        reason = f"no command to an instance can be signed: {_said(error)}"
        after, effects = core.give_up(before, event, now_ms, limits, reason)
        commands = iter(())
    if after != before:
        groups.put(event.group, msgspec.to_builtins(after))
    for effect in effects:
        match effect:
            case state.Command():
                ctx.emit(next(commands))
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


def _is_last(ctx: Context) -> bool:
    """Whether the record is parked if this attempt fails too."""
    return ctx.attempt >= RETRY.attempts_max


def _said(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


async def _known_groups(ctx: Context) -> tuple[str, ...]:
    """The groups that have instances; they only serve a message."""
    try:
        return await client.groups(ctx.process)
    except Exception:
        if not _is_last(ctx):
            raise
        return ()


async def _signed(
    effects: Sequence[state.Effect], group: str, now_ms: int, limits: core.Limits, ctx: Context
) -> list[events.DeploymentCommanded]:
    """The commands among `effects`, in their order."""
    found = [each for each in effects if isinstance(each, state.Command)]
    if not found:
        return []
    signer = await ctx.resource(signing.open_signer)
    return [_commanded(each, group, now_ms, limits, signer) for each in found]


def _commanded(
    effect: state.Command, group: str, now_ms: int, limits: core.Limits, signer: Ed25519PrivateKey
) -> events.DeploymentCommanded:
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
    payload, signature = command.sign(order, signer)
    return events.DeploymentCommanded(
        instance=effect.instance,
        command_id=order.command_id,
        deployment_id=deployment.id,
        artifact=goal.artifact,
        payload=payload,
        signature=signature,
        expires_at_ms=order.expires_at_ms,
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
