"""What agent and gateway say to each other over HTTP, as JSON. Both sides import this and nothing of the other."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

WAIT_S_MAX = 25.0
"""A poll is answered after this long without a command, before proxies and NATs drop idle connections."""
BODY_BYTES_MAX = 64 * 1024
"""Of a report."""
LOG_TAIL_BYTES_MAX = 2048
"""Of the log that goes with a report, as CodeDeploy's agent keeps."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Moment = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Envelope(msgspec.Struct, frozen=True):
    """A signed command; `position` is where the next poll goes on."""

    position: int
    payload: bytes
    signature: bytes


class Commands(msgspec.Struct, frozen=True):
    """Answer to `GET /deploy/agents/{instance}/commands?group=G&after=N&wait=SECONDS`."""

    commands: list[Envelope]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /deploy/agents/{instance}/reports`; see sixfold_events.deploy.DeploymentStepReported."""

    report_id: Name
    group: Name
    deployment_id: Name
    lifecycle_event: Name
    status: Literal["InProgress", "Succeeded", "Failed", "Skipped"]
    message: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    log_tail: Annotated[str, msgspec.Meta(max_length=LOG_TAIL_BYTES_MAX)] = ""
    budget_ms: Moment = 0
    started_at_ms: Moment = 0
    ended_at_ms: Moment = 0
