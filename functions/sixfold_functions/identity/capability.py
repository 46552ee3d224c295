"""How the identity capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(name="identity", summary="Issuers, roles and short-lived session credentials")
