"""What becomes of a group's deployments: a pure state machine over the events of `deploy.events`.

One deployment of a group runs at a time, the others wait in their order; within it one instance at a time. A failure
stops the rollout, and where an earlier revision of the application has succeeded, a rollback to it goes first in line.
`decide` is all of it; `state.py` has the records and the transition tables, `handler.py` carries effects out.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from sixfold_events import deploy as events
from sixfold_functions.deploy import lifecycle, state
from sixfold_functions.deploy.state import (
    Command,
    Deployment,
    DeploymentMoved,
    Effect,
    Group,
    Revision,
    Target,
    TargetMoved,
    Timer,
)

GroupEvent = (
    events.DeploymentPrepared
    | events.DeploymentStepReported
    | events.DeploymentDue
    | events.AgentSeen
    | events.AgentForgotten
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long the rollout waits for an instance."""

    answer_ms: int = 60_000
    """From a command, or from a finished lifecycle event, to the next report. CodeDeploy waits 5 minutes."""
    silence_ms: int = 60_000
    """An agent at work keeps asking for commands; after this long without a word it counts as gone."""
    step_ms_max: int = 3_600_000
    """The most that an agent may claim for one lifecycle event, as CodeDeploy's limit."""
    grace_ms: int = 15_000
    """Added to what the agent claims, so that its own report of a timeout comes first."""


class _Decision:
    """One call of `decide`: the state as it moves, and the effects so far."""

    def __init__(self, group: Group, now_ms: int, limits: Limits, known_groups: tuple[str, ...]) -> None:
        self.group = group
        self.now_ms = now_ms
        self.limits = limits
        self.known_groups = known_groups
        self.effects: list[Effect] = []

    # What comes in.

    def prepared(self, event: events.DeploymentPrepared) -> None:
        if event.deployment_id in self.group.known:
            return
        deployment = Deployment(
            id=event.deployment_id,
            goal=Revision(event.application, event.revision, event.artifact, event.appspec),
            creator=event.creator,
            created_ms=self.now_ms,
        )
        self._enter(deployment)
        if event.problem:
            self._end(deployment, "refuse", event.problem)
            self.group = replace(self.group, queue=tuple(each for each in self.group.queue if each.id != deployment.id))

    def reported(self, event: events.DeploymentStepReported) -> None:
        deployment, target = self._running(event.deployment_id)
        if deployment is None or target is None or target.instance != event.instance:
            return  # late, repeated, or of an instance whose turn it is not
        if event.lifecycle_event not in lifecycle.IN_PLACE_NAMES:
            return
        step, done = lifecycle.IN_PLACE_NAMES.index(event.lifecycle_event), event.status != "InProgress"
        if step < target.step or (event.status != "Failed" and (step, done) <= (target.step, target.done)):
            return  # heard already: said again it gives no more time, so every wait ends
        if event.status == "Failed":
            said = f": {event.message}" if event.message else ""
            self._target_ended(deployment, target, "fail", f"{event.lifecycle_event} failed{said}")
        elif event.status in ("Succeeded", "Skipped") and step == len(lifecycle.IN_PLACE_NAMES) - 1:
            self._target_ended(deployment, target, "succeed", "")
        else:
            claimed_ms = max(0, min(event.budget_ms, self.limits.step_ms_max)) + self.limits.grace_ms
            wait_ms = self.limits.answer_ms if done else claimed_ms
            target = replace(target, step=step, done=done, heard_ms=self.now_ms, due_ms=self.now_ms + wait_ms)
            self._set(replace(deployment, target=target))

    def due(self, event: events.DeploymentDue) -> None:
        self.group = replace(self.group, armed_ms=0)
        deployment, target = self._running(event.deployment_id)
        if deployment is None or target is None or self.now_ms < self._deadline_ms(target):
            return
        at = lifecycle.IN_PLACE_NAMES[target.step] if target.step >= 0 else "the command"
        silent_s = (self.now_ms - target.heard_ms) // 1000
        self._target_ended(
            deployment,
            target,
            "fail",
            f"no answer in time after {at} (last word {silent_s} s ago); is its agent running? "
            f"`sixfold deploy forget {target.instance}` takes a dead instance out of the group",
        )

    def seen(self, event: events.AgentSeen) -> None:
        if event.instance not in self.group.instances:
            self.group = replace(self.group, instances=tuple(sorted({*self.group.instances, event.instance})))
        deployment = self.group.current
        if deployment and deployment.target and deployment.target.instance == event.instance:
            self._set(replace(deployment, target=replace(deployment.target, heard_ms=self.now_ms)))

    def forgotten(self, event: events.AgentForgotten) -> None:
        kept = tuple(each for each in self.group.instances if each != event.instance)
        self.group = replace(self.group, instances=kept)
        deployment = self.group.current
        if deployment is None:
            return
        if event.instance in deployment.waiting:
            waiting = tuple(each for each in deployment.waiting if each != event.instance)
            self._set(replace(deployment, waiting=waiting))
            self.effects.append(TargetMoved(deployment.id, event.instance, state.SKIPPED, "taken out of the group"))
        elif deployment.target and deployment.target.instance == event.instance:
            self._target_ended(deployment, deployment.target, "fail", "taken out of the group")

    # What follows.

    def go_on(self) -> None:
        """Begin what waits, command the next instance, set the timer: until there is nothing left to do now."""
        while True:
            deployment = self.group.current
            if deployment is None:
                if not self.group.queue:
                    break
                self._begin(self.group.queue[0])
            elif deployment.target is None and deployment.waiting:
                self._command(deployment)
            elif deployment.target is None:
                self._rolled_out(deployment)
            else:
                break
        self._arm()

    def give_up(self, reason: str) -> None:
        """End whatever runs and waits, without commanding anybody."""
        while deployment := self.group.current or next(iter(self.group.queue), None):
            if deployment is not self.group.current:
                self.group = replace(self.group, queue=self.group.queue[1:])
                self._end(deployment, "refuse", reason)
                continue
            if deployment.target:
                self.effects.append(TargetMoved(deployment.id, deployment.target.instance, state.FAILED, reason))
            self.effects.extend(TargetMoved(deployment.id, each, state.SKIPPED) for each in deployment.waiting)
            self._end(replace(deployment, target=None, waiting=()), "fail", "; ".join((*deployment.failures, reason)))
        self._arm()

    def _begin(self, deployment: Deployment) -> None:
        self.group = replace(self.group, queue=self.group.queue[1:])
        wanted = deployment.only or self.group.instances
        waiting = tuple(each for each in wanted if each in self.group.instances)
        if not waiting:
            known = ", ".join(self.known_groups) or "none"
            reason = (
                f"NO_INSTANCES: group {self.group.name!r} has no instance; groups with instances: {known}. "
                "An instance joins when its agent asks for commands"
            )
            self._end(deployment, "refuse", reason)
            return
        deployment = replace(
            deployment, status=state.moved(state.DEPLOYMENT, deployment.status, "begin"), waiting=waiting
        )
        self._set(deployment)
        self.effects.append(DeploymentMoved(deployment))
        self.effects.extend(TargetMoved(deployment.id, each, state.PENDING) for each in waiting)

    def _command(self, deployment: Deployment) -> None:
        instance, *waiting = deployment.waiting
        target = Target(instance=instance, heard_ms=self.now_ms, due_ms=self.now_ms + self.limits.answer_ms)
        self._set(replace(deployment, waiting=tuple(waiting), target=target))
        self.effects.append(Command(deployment, instance))
        status = state.moved(state.TARGET, state.PENDING, "command")
        self.effects.append(TargetMoved(deployment.id, instance, status))

    def _target_ended(self, deployment: Deployment, target: Target, how: str, message: str) -> None:
        status = state.moved(state.TARGET, state.IN_PROGRESS, how)
        self.effects.append(TargetMoved(deployment.id, target.instance, status, message))
        touched = (*deployment.touched, target.instance)
        if how == "succeed":
            self._set(replace(deployment, target=None, touched=touched))
            return
        failures = (*deployment.failures, f"{target.instance}: {message}")
        deployment = replace(deployment, target=None, touched=touched, failures=failures)
        self._set(deployment)
        if not deployment.is_rollback:
            self._stop(deployment)
        # A rollback goes on: an instance left on the bad revision is worse than one more failure.

    def _stop(self, deployment: Deployment) -> None:
        skipped = state.moved(state.TARGET, state.PENDING, "skip")
        self.effects.extend(TargetMoved(deployment.id, each, skipped) for each in deployment.waiting)
        deployment = replace(deployment, waiting=())
        good = self.group.last_good.get(deployment.goal.application)
        reason = "; ".join(deployment.failures)
        if good is None:
            self._end(
                deployment,
                "fail",
                f"{reason}. Nothing to roll back to: no revision of {deployment.goal.application} "
                f"has succeeded in {self.group.name} yet",
            )
            return
        rollback = Deployment(
            id=f"{deployment.id}-rollback",
            goal=good,
            creator=f"{state.ROLLBACK}{deployment.id}",
            created_ms=self.now_ms,
            only=deployment.touched,
        )
        self._end(
            replace(deployment, rollback_id=rollback.id),
            "fail",
            f"{reason}. Rolling back to {good.revision} by deployment {rollback.id}",
        )
        self._enter(rollback, first=True)

    def _rolled_out(self, deployment: Deployment) -> None:
        if deployment.failures:
            self._end(deployment, "fail", "; ".join(deployment.failures))
        elif not deployment.touched:
            self._end(deployment, "fail", "NO_INSTANCES: every instance was taken out of the group meanwhile")
        else:
            if not deployment.is_rollback:
                good = {**self.group.last_good, deployment.goal.application: deployment.goal}
                self.group = replace(self.group, last_good=good)
            self._end(deployment, "succeed", "")

    def _enter(self, deployment: Deployment, *, first: bool = False) -> None:
        queue = (deployment, *self.group.queue) if first else (*self.group.queue, deployment)
        known = (*self.group.known, deployment.id)[-state.KNOWN_MAX :]
        self.group = replace(self.group, queue=queue, known=known)
        self.effects.append(DeploymentMoved(deployment))

    def _end(self, deployment: Deployment, how: str, reason: str) -> None:
        status = state.moved(state.DEPLOYMENT, deployment.status, how)
        ended = replace(deployment, status=status, reason=reason)
        if self.group.current and self.group.current.id == deployment.id:
            self.group = replace(self.group, current=None)
        self.effects.append(DeploymentMoved(ended))

    # Small words.

    def _running(self, deployment_id: str) -> tuple[Deployment | None, Target | None]:
        current = self.group.current
        if current is None or current.id != deployment_id:
            return None, None
        return current, current.target

    def _set(self, deployment: Deployment) -> None:
        self.group = replace(self.group, current=deployment)

    def _deadline_ms(self, target: Target) -> int:
        return min(target.due_ms, target.heard_ms + self.limits.silence_ms)

    def _arm(self) -> None:
        """One timer a group: set where none is set or an earlier one is needed; one that fires early is set again."""
        deployment = self.group.current
        if deployment is None or deployment.target is None:
            if self.group.armed_ms:
                self.group = replace(self.group, armed_ms=0)
                self.effects.append(Timer("", 0))
            return
        due_ms = self._deadline_ms(deployment.target)
        if not self.group.armed_ms or due_ms < self.group.armed_ms or deployment.id != self.group.armed_for:
            self.group = replace(self.group, armed_ms=due_ms, armed_for=deployment.id)
            self.effects.append(Timer(deployment.id, due_ms))


def decide(
    group: Group, event: GroupEvent, now_ms: int, limits: Limits, known_groups: tuple[str, ...] = ()
) -> tuple[Group, list[Effect]]:
    """The group after `event`, and what is to be done; `known_groups` only serves a message.

    An event that was decided before, or comes too late, changes nothing and has no effect.
    """
    decision = _Decision(group, now_ms, limits, known_groups)
    _take_in(decision, event)
    decision.go_on()
    return decision.group, decision.effects


def give_up(group: Group, event: GroupEvent, now_ms: int, limits: Limits, reason: str) -> tuple[Group, list[Effect]]:
    """As `decide`, where no instance can be commanded: everything that runs or waits fails because of `reason`."""
    decision = _Decision(group, now_ms, limits, ())
    _take_in(decision, event)
    decision.give_up(reason)
    return decision.group, decision.effects


def _take_in(decision: _Decision, event: GroupEvent) -> None:
    match event:
        case events.DeploymentPrepared():
            decision.prepared(event)
        case events.DeploymentStepReported():
            decision.reported(event)
        case events.DeploymentDue():
            decision.due(event)
        case events.AgentSeen():
            decision.seen(event)
        case events.AgentForgotten():
            decision.forgotten(event)
