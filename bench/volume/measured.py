"""What a writer's process found out about a volume: rates, latencies, processor time and fsyncs, by clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.volume.volumes import Volume
from sixfold_functions.volume.core import layout

SECONDS = 4.0
"""Of each load, once its rate is level."""
FILL_TIMEOUT_S = 900.0
"""Two processors of a quiet machine fill 2 GB in two to three minutes."""


def figures_of(said: Mapping[str, Any]) -> dict[str, float]:
    """Of one load. Fsyncs are those of the copy that needs most; processor time is that of all."""
    clients, count = said["clients"], said["appends"]
    found = {
        f"{clients}": said["per_s"],
        f"p50_ms_{clients}": said["p50_ms"],
        f"p99_ms_{clients}": said["p99_ms"],
        f"cpu_us_{clients}": sum(said["cpu_s"].values()) / count * 1e6,
    }
    syncs = [said["syncs"][copy] for copy in layout.COPIES if copy in said["syncs"]]
    return {**found, f"fsyncs_{clients}": max(syncs) / count} if syncs else found


async def measured(
    ours: Volume, clients: tuple[int, ...], *, fill_bytes: int = 0, seconds: float = SECONDS
) -> dict[str, float]:
    """Start the six copies and a writer, have it append `fill_bytes`, then measure a load of each number of clients."""
    found: dict[str, float] = {}
    async with (
        ours.copies(),
        ours.writing(fill_bytes=fill_bytes, clients=clients, seconds=seconds) as (running, _),
    ):
        if fill_bytes:
            said = await running.said(FILL_TIMEOUT_S)
            print(f"  filled {fill_bytes:,} bytes in {said['seconds']:.1f} s", flush=True)
        for _ in clients:
            found |= figures_of(await running.said())
    return found
