"""From `kill -9` of the writer under load to the first append that its successor, started at once, acknowledges."""

from __future__ import annotations

import functools
import signal
import time

from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import SideError
from bench.volume.volumes import Volume, volume, volume_name

CLIENTS = 128
UNDER_LOAD_S = 2.0
SAY_S = 0.05


async def recovery(lab: Lab, broker: int | None) -> Outcome:
    """Seconds; the six copies stay, as the writer's supervisor finds them."""
    async with volume(lab.bus, lab.folder, volume_name(lab, "recovery"), broker=broker) as ours, ours.copies():
        times = await rounds.interleaved({"recovery_s": functools.partial(recovery_s, ours)}, lab.scale.rounds)
    outcome = Outcome()
    outcome.add("recovery_s", rounds.figure(times["recovery_s"]))
    return outcome


async def recovery_s(ours: Volume, *, under_load_s: float = UNDER_LOAD_S) -> float:
    """Of one writer. Raises SideError where its successor has not got all that was acknowledged."""
    async with ours.writing(clients=(CLIENTS,), say_s=SAY_S) as (running, _):
        loaded_s = time.monotonic() + under_load_s
        while time.monotonic() < loaded_s:
            said = await running.said()
        killed_s = time.monotonic()
        running.process.send_signal(signal.SIGKILL)
        async with ours.writing() as (_, first):
            pass
    if first["first_lsn"] <= said["last_lsn"]:
        raise SideError(
            f"expected a successor that begins above LSN {said['last_lsn']}, which was acknowledged, "
            f"found LSN {first['first_lsn']}"
        )
    return float(first["at_s"] - killed_s)
