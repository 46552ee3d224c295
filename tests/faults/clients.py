"""Clients as a process of their own: `python -m tests.faults.clients …`; SIGTERM lets each lane end its operation."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

from tests.faults.lane import BROKEN
from tests.history.recording import Recorder

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.bus import open_bus, port
from sixfold_functions.volume.client import VolumeClient

LANES = 4


async def main() -> None:
    """Operate until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--bus", required=True)
    parser.add_argument("--name", required=True, help="unlike that of any process before")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--broken", choices=list(BROKEN), default="")
    chosen = parser.parse_args()
    clock, stopping = clocks.SystemClock(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    try:
        async with (
            open_bus(chosen.bus, data_dir=chosen.data_dir) as bus,
            VolumeClient(bus, registry=catalogue.installed().registry) as client,
        ):
            with Recorder(chosen.history, clock) as recorder:
                async with asyncio.TaskGroup() as group:
                    for number in range(LANES):
                        name = f"{chosen.name}.{number}"
                        rng = random.Random(f"{chosen.seed} {name}")
                        lane = BROKEN[chosen.broken](name, client, recorder, clock=clock, rng=rng)
                        group.create_task(lane.run(stopping))
    except port.BusError as error:
        sys.exit(f"the bus is away: {error}")  # whoever started this starts it again


if __name__ == "__main__":
    asyncio.run(main())
