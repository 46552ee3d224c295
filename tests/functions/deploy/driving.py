"""Driving the pure core: a group, events in, effects out, all of them kept."""

from __future__ import annotations

from sixfold_events import deploy as events
from sixfold_functions.deploy import core, lifecycle, state

LIMITS = core.Limits(answer_ms=60_000, silence_ms=50_000, grace_ms=1_000)


class Driver:
    """One group under test, with a clock that only moves when told."""

    def __init__(self, *instances: str) -> None:
        self.group = state.Group(name="production")
        self.now_ms = 1_000_000
        self.effects: list[state.Effect] = []
        for instance in instances:
            self.seen(instance)

    def decide(self, event: core.GroupEvent) -> list[state.Effect]:
        self.group, effects = core.decide(self.group, event, self.now_ms, LIMITS, ("staging",))
        self.effects += effects
        return effects

    def seen(self, instance: str) -> list[state.Effect]:
        return self.decide(events.AgentSeen(group="production", instance=instance, seen_at_ms=self.now_ms))

    def forget(self, instance: str) -> list[state.Effect]:
        return self.decide(events.AgentForgotten(group="production", instance=instance))

    def request(self, name: str, *, problem: str = "", application: str = "web") -> list[state.Effect]:
        return self.decide(
            events.DeploymentPrepared(
                deployment_id=name,
                application=application,
                group="production",
                revision=f"revision-{name}",
                artifact="a" * 64,
                appspec="appspec.yml",
                creator="user",
                problem=problem,
            )
        )

    def report(
        self, name: str, instance: str, event: str, status: str, message: str = "", budget_ms: int = 0
    ) -> list[state.Effect]:
        return self.decide(
            events.DeploymentStepReported(
                report_id=f"{name}/{instance}/{event}/{status}",
                group="production",
                instance=instance,
                deployment_id=name,
                lifecycle_event=event,
                status=status,
                message=message,
                budget_ms=budget_ms,
            )
        )

    def succeed(self, name: str, *instances: str) -> None:
        for instance in instances:
            for event in lifecycle.IN_PLACE_NAMES:
                self.report(name, instance, event, "InProgress")
                self.report(name, instance, event, "Succeeded")

    def due(self, name: str) -> list[state.Effect]:
        return self.decide(events.DeploymentDue(group="production", deployment_id=name, due_at_ms=self.now_ms))

    def commanded(self) -> list[tuple[str, str]]:
        """(deployment, instance) of every command so far."""
        return [(each.deployment.id, each.instance) for each in self.effects if isinstance(each, state.Command)]

    def endings(self) -> dict[str, tuple[str, str]]:
        """(status, reason) of every deployment that has ended."""
        return {
            each.deployment.id: (each.deployment.status, each.deployment.reason)
            for each in self.effects
            if isinstance(each, state.DeploymentMoved) and each.deployment.status in (state.SUCCEEDED, state.FAILED)
        }

    def targets(self, name: str) -> dict[str, str]:
        """The last status of each instance in a deployment."""
        return {
            each.instance: each.status
            for each in self.effects
            if isinstance(each, state.TargetMoved) and each.deployment_id == name
        }
