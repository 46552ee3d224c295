"""What the gateway does for pipelines: it serves nothing, and keeps the deadlines of their actions."""

from __future__ import annotations

from collections.abc import Sequence

from sixfold.gateway import Gateway, Route
from sixfold_functions.pipeline.deadlines import Deadlines


def routes(gateway: Gateway) -> Sequence[Route]:
    """No routes; the reader of `pipeline.events` starts and ends with the gateway."""
    deadlines = Deadlines(gateway.process)
    gateway.on_start.append(deadlines.start)
    gateway.on_stop.append(deadlines.stop)
    return ()
