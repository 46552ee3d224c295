"""How the deploy capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(name="deploy", summary="Deployments to instances by their agents")
