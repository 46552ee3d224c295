"""How the pipeline capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(
    name="pipeline",
    summary="Pipelines that a push starts",
    functions=("sixfold_functions.pipeline.handler",),
    events=("sixfold_events.pipeline",),
    topics="sixfold_functions.pipeline.topics:TOPICS",
    routes="sixfold_functions.pipeline.routes:routes",
    commands="sixfold_functions.pipeline.commands:app",
)
