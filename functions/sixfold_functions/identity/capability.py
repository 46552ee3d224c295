"""How the identity capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(
    name="identity",
    summary="Issuers, roles and short-lived session credentials",
    events=("sixfold_events.identity",),
    topics="sixfold_functions.identity.topics:topics",
    routes="sixfold_functions.identity.routes:routes",
    commands="sixfold_functions.identity.commands:app",
)
