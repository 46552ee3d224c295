"""Copies that are replaced in a simulated life, and go back; writers that begin with what once was."""

from __future__ import annotations

from tests.simulation.world import World
from tests.simulation.writer import Writer

from sixfold_functions.volume.core.membership import Membership


def replace(world: World, writer: Writer, *, burns: bool) -> None:
    """A copy gets a successor: mostly one that is down, or whose machine is gone for good if it `burns`."""
    candidates = [copy for copy in world.down if copy in writer.membership.members]
    copy = world.rng.choice(candidates or list(writer.membership.members))
    if writer.replace(copy):
        world.hits["replacement begun"] += 1
        if world.rng.random() < 0.5 and burns:
            world.hits["machine lost for good"] += 1
            world.lose_disk(copy)
            world.burnt.add(copy)


def undo(world: World, writer: Writer) -> None:
    """Back to the old copy, where a replacement is under way."""
    if writer.undo():
        world.hits["replacement undone"] += 1


def hint(world: World) -> Membership | None:
    """What a new writer begins with; None for what was announced last."""
    if world.rng.random() >= 0.3:
        return None
    world.hits["old membership begun with"] += 1
    return world.rng.choice(world.announced)
