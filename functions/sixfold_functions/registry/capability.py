"""How the registry capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(
    name="registry",
    summary="Schemas by id and subject, for Confluent's clients and ours",
    events=("sixfold_events.subjects",),
    topics="sixfold_functions.registry.topics:topics",
    routes="sixfold_functions.registry.routes:routes",
)
