"""Replacing a copy as its user sees it: what is refused at once, how far the new copy is, how it ended."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sixfold import clock as clocks
from sixfold import errors
from sixfold_functions.volume import client as clients
from sixfold_functions.volume.core.membership import Membership
from sixfold_functions.volume.errors import QuorumLostError, VolumeError
from sixfold_functions.volume.status import VolumeState

LOOK_S = 0.5


class NotReplacedError(VolumeError):
    """The change that was begun is no more; another one, or none, took its place."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended, or with `complete` false how far it is."""

    volume: str
    copy: str
    replacement: str
    undone: bool
    complete: bool
    version: int
    members: list[str]


async def begin(volume: clients.VolumeClient, copy: str, *, undo: bool, timeout_s: float) -> Replaced:
    """Ask for it. Raises UsageError for an unknown copy, QuorumLostError, and what `VolumeClient.replace` raises."""
    members = volume.membership
    if copy not in members.members:
        raise errors.UsageError(f"{copy!r} is no copy of volume {volume.volume}; expected one of {_names(members)}")
    status = await volume.status()
    if not status.writable:
        raise QuorumLostError(
            f"copy {copy} cannot be replaced",
            [each.copy for each in status.copies if each.state != "down"],
            volume=volume.volume,
            membership=members,
            joining=[each.copy for each in status.copies if each.state == "joining"],
            outcome="Nothing was changed.",
        )
    replacement = members.change[1] if members.change is not None else ""
    begun = await volume.replace(copy, undo=undo, timeout_s=timeout_s)
    if begun.change is not None:
        replacement = begun.change[1]
    return _of(volume.volume, copy, replacement, begun, undo=undo, complete=False)


async def watch(
    volume: clients.VolumeClient,
    begun: Replaced,
    *,
    clock: clocks.Clock,
    progress: Callable[[VolumeState], None] = lambda state: None,
) -> Replaced:
    """Wait until it is complete, for as long as it takes. Raises NotReplacedError where it was given up meanwhile."""
    gone, stays = (begun.replacement, begun.copy) if begun.undone else (begun.copy, begun.replacement)
    while True:
        members = volume.membership
        if members.settled and members.change is None and members.version >= begun.version:
            if gone not in members.members and stays in members.members:
                return _of(begun.volume, begun.copy, begun.replacement, members, undo=begun.undone, complete=True)
            raise NotReplacedError(
                f"volume {begun.volume}: the change was given up: another writer took over that had not heard of it, or "
                f"somebody asked for the contrary. Its copies are {_names(members)}"
            )
        progress(await volume.status())
        await clock.sleep(LOOK_S)


def _of(volume: str, copy: str, replacement: str, members: Membership, *, undo: bool, complete: bool) -> Replaced:
    return Replaced(
        volume=volume,
        copy=copy,
        replacement=replacement,
        undone=undo,
        complete=complete,
        version=members.version,
        members=list(members.members),
    )


def _names(members: Membership) -> str:
    return ", ".join(members.members)
