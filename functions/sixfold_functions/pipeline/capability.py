"""How the pipeline capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(name="pipeline", summary="Pipelines that a push starts")
