"""How the deploy capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability, Service

INSTANCES = ("i-1", "i-2", "i-3")
"""Those that `sixfold up` starts, in the group that an agent is in unless it is told another."""

capability = Capability(
    name="deploy",
    summary="Deployments to instances by their agents",
    functions=("sixfold_functions.deploy.handler",),
    events=("sixfold_events.deploy",),
    topics="sixfold_functions.deploy.topics:TOPICS",
    routes="sixfold_functions.deploy.routes:routes",
    commands="sixfold_functions.deploy.commands:app",
    services=(
        Service(
            name="deploy.agent",
            run="sixfold_functions.deploy.agent.service:run",
            summary="Carries deployments out on one instance",
            options=("instance", "group"),
            instances=tuple({"instance": instance} for instance in INSTANCES),
            bus=False,
        ),
    ),
)
