"""How the git capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(
    name="git",
    summary="Git repositories over smart HTTP",
    events=("sixfold_events.git",),
    routes="sixfold_functions.git.routes:routes",
    commands="sixfold_functions.git.commands:app",
)
