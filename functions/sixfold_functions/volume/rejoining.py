"""A copy whose log does not open begins anew by itself: its folder is set aside, never deleted, and it is filled.

It may have acknowledged what it has not got any more, so it joins: it counts for nothing until it is level and admitted.
A copy that refuses to start counts for nothing either, so this takes nothing from the volume; what it must not do is
hide that the volume is near its end. So a person is asked where fewer than four of the others count (then what this
folder holds may be needed), and where the copy was set aside before (then its disk should be looked at).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.process import Process
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster
from sixfold_functions.volume.core import layout, quorum

ROUNDS = 5
"""How often the others are asked: they may be starting too."""
ANSWER_S = 2.0
_ASIDE = ".damaged-"


class NotSetAsideError(errors.SixfoldError):
    """The copy's log does not open, and it does not begin anew by itself; the message says why."""


async def set_aside(
    process: Process, disk: disks.Disk, folder: Path, damage: errors.SixfoldError, *, volume: str, copy: str
) -> Path:
    """Move the folder of a copy, which does not open for `damage`, away. Returns where it is now.

    Raises NotSetAsideError; nothing was changed then.
    """
    if earlier := [name for name in disk.names(folder.parent) if name.startswith(folder.name + _ASIDE)]:
        raise NotSetAsideError(
            f"{damage}. It does not begin anew by itself, as it did before and {folder.parent / earlier[-1]} is still there: "
            "look at the disk, and remove that folder once the volume is level"
        ) from damage
    counting = await _counting(process, volume, copy)
    if len(counting) < quorum.FOUR_OF_SIX.write:
        raise NotSetAsideError(
            f"{damage}. It does not begin anew by itself: {len(counting)} of the other copies answer and count "
            f"({layout.describe(counting)}), and {quorum.FOUR_OF_SIX.write} must, or what this one holds may be needed. "
            "Start the others first: sixfold volume start all"
        ) from damage
    aside = folder.with_name(f"{folder.name}{_ASIDE}{clocks.now_ms(process.clock)}")
    try:
        disk.rename(folder, aside)
        disk.sync_folder(folder.parent)
    except OSError as error:
        raise NotSetAsideError(f"{damage}. It cannot be moved by itself: {error.strerror}") from damage
    structlog.get_logger().error(
        "the copy's log is damaged; its folder was set aside, and it begins anew",
        action="volume.copy.set_aside",
        volume=volume,
        copy=copy,
        error=str(damage),
        folder=str(aside),
    )
    return aside


async def _counting(process: Process, volume: str, copy: str) -> list[str]:
    """The other copies that answer and are not being filled themselves."""
    counting: list[str] = []
    reader = readers.CopyReader(process.require_bus(), registry=process.registry, clock=process.clock, volume=volume)
    try:
        members = (await roster.load(process.require_bus(), process.registry, volume))[0].membership
        reader.use(members)
        others = [name for name in members.members if name != copy]
        async with reader:
            for _ in range(ROUNDS):
                answers = await reader.ask_all(others, timeout_s=ANSWER_S)
                heard = [name for name, answer in answers.items() if not answer.status.joining]
                counting = min(([name for name in heard if name in each] for each in members.counting), key=len)
                if len(counting) >= quorum.FOUR_OF_SIX.write or process.stopping.is_set():
                    break
                await asyncio.sleep(0)
    except port.BusError as error:
        structlog.get_logger().warning("the bus does not answer", action="volume.bus.failed", error=str(error))
    return counting
