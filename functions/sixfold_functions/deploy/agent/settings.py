"""What an agent is told: who it is, where the gateway is, whom it trusts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from sixfold.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One agent's settings."""

    instance: str
    """Its name; also the name of its credential."""
    group: str
    """Deployment group that it belongs to; commands for other groups are refused."""
    folder: Path
    """The agent's own folder; `root/` in it is the instance's file system."""
    credential: Path
    """File with its token (0600)."""
    public_key: Path
    """PEM file with the system's deployment signing key, public half."""
    gateway: str
    """URL, or path of the `gateway.json` that the system writes; read again when the gateway does not answer."""
    backoff_s: float = 0.2
    """Wait before the second attempt to reach the gateway; it doubles with each further one."""
    backoff_max_s: float = 10.0
    """The longest wait: a gateway that comes back is noticed within this. CodeDeploy's agent goes up to 90 s."""

    def gateway_url(self) -> str:
        """Where the gateway is now. Raises UsageError where that is not known."""
        if self.gateway.startswith(("http://", "https://")):
            return self.gateway
        try:
            url = msgspec.json.decode(Path(self.gateway).read_bytes(), type=dict[str, str])["url"]
        except (OSError, KeyError, msgspec.DecodeError) as error:
            raise UsageError(
                f"no gateway is recorded in {self.gateway} ({error}); start the system, or give --gateway a URL"
            ) from error
        return url
