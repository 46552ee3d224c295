"""Waiting for a deployment's end, telling of each change on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from sixfold import clock as clocks
from sixfold.bus import Start
from sixfold.errors import SixfoldError
from sixfold.process import Process
from sixfold_events import deploy as events
from sixfold_functions.deploy import client

_LOOK_BACK_MS = 60_000


class StillRunningError(SixfoldError):
    """The deployment did not end in the time given; it goes on."""


async def ended(
    process: Process,
    wanted: events.DeploymentRequested,
    timeout_s: float,
    say: Callable[[str], Any] | None,
) -> events.DeploymentChanged:
    """The deployment once it has ended; `say` is told of each lifecycle event. Raises StillRunningError."""
    since = Start("timestamp", clocks.now_ms(process.clock) - _LOOK_BACK_MS)
    steps = asyncio.create_task(_tell(process, wanted, since, say or (lambda _: None)))
    following = client.records(process, events.DeploymentChanged, start=since, follow=True)
    try:
        async with asyncio.timeout(timeout_s), contextlib.aclosing(following):
            async for _, changed in following:
                if changed.deployment_id == wanted.deployment_id and changed.status in ("Succeeded", "Failed"):
                    return changed
    except TimeoutError:
        pass
    finally:
        steps.cancel()
        await asyncio.gather(steps, return_exceptions=True)
    raise StillRunningError(
        f"deployment {wanted.deployment_id} has not ended within {timeout_s:g} s and goes on; "
        f"`sixfold deploy show {wanted.deployment_id}` shows how it stands (are functions and agents running?)"
    )


async def _tell(process: Process, wanted: events.DeploymentRequested, since: Start, say: Callable[[str], Any]) -> None:
    following = client.records(process, events.DeploymentStepReported, start=since, follow=True)
    async with contextlib.aclosing(following):
        async for _, step in following:
            if step.deployment_id == wanted.deployment_id and step.status != "InProgress":
                message = f": {step.message}" if step.message else ""
                say(f"{step.instance}  {step.lifecycle_event}  {step.status}{message}")
