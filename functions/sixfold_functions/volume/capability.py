"""How the volume capability joins the house."""

from __future__ import annotations

from sixfold.capability import Capability

capability = Capability(name="volume", summary="A volume of six copies with a write quorum of four")
