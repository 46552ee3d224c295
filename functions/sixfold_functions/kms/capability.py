"""How the kms capability joins the house, and the audit trail's commands beside it."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(
    name="kms",
    summary="Data keys against role claims",
    functions=("sixfold_functions.kms.handler",),
    events=("sixfold_events.kms",),
    topics="sixfold_functions.kms.topics:topics",
    routes="sixfold_functions.kms.routes:routes",
    commands="sixfold_functions.kms.commands:app",
)

audit = Capability(
    name="audit",
    summary="The audit trail: every key request and every call for credentials, in chains of hashes",
    commands="sixfold_functions.kms.auditing:app",
)
"""Its own name on the command line: `sixfold audit …`."""
