"""How the kms capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(name="kms", summary="Data keys against role claims")
