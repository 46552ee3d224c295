"""A copy that reads its log back in a simulated world, and mends what is damaged from those that it reaches."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.simulation.world import World

from sixfold_events.volume import VolumeReadRequested
from sixfold_functions.volume import files, mending, scrubbing

UNASKED = 0.1
"""Chance that a copy is read back of which nothing is damaged: it costs more than all else in a step."""


def scrub_any(world: World, reached_by: Callable[[str], Collection[str]]) -> None:
    """Where there is something to find, and now and then where there is nothing."""
    names = sorted(world.flipped & set(world.copies))
    if not names and world.rng.random() < UNASKED:
        names = sorted(world.copies)
    if names:
        name = world.rng.choice(names)
        scrub(world, name, reached_by(name))


def scrub(world: World, name: str, reachable: Collection[str]) -> None:
    """A whole reading, and the mending: what the service does, in one step."""
    try:
        if _scrub(world, name, reachable):
            world.flipped.discard(name)
    except files.LogError as error:
        world.broken(name, error)


def _scrub(world: World, name: str, reachable: Collection[str]) -> bool:
    """True if damage was found and all of it is mended."""
    mender = world.copies[name].mender()
    mender.tidy()
    found = scrubbing.Scrub(mender, scrubbing.Position())
    for _ in found.steps():
        pass
    if any(damage.segment == mender.log.newest for damage in found.damages):
        full = mender.log.newest
        mender.log.roll()
        found.damages = [damage for damage in found.damages if damage.segment != full] + _in(mender, full)
    whole = True
    for damage in found.damages:
        world.hits["damage found by scrubbing"] += 1
        try:
            wanted = mending.wanted_of(mender.wanted(damage))
            batches = {each.place: _fetched(world, mender, each, name, reachable) for each in wanted}
            for _ in mender.write(damage, mender.replacement(damage, batches)):
                pass
            world.hits["damage mended"] += 1
        except mending.NotMendedError:
            whole = False
    left = [each for segment in sorted({damage.segment for damage in found.damages}) for each in _in(mender, segment)]
    assert not whole or not left, left
    return whole and bool(found.damages)


def _in(mender: mending.Mender, segment: int) -> list[mending.Damage]:
    """What is damaged in a segment."""
    found = scrubbing.Scrub(mender, scrubbing.Position(segment=segment))
    for _ in found.segment(segment):
        pass
    return found.damages


def _fetched(
    world: World, mender: mending.Mender, wanted: mending.Wanted, name: str, reachable: Collection[str]
) -> bytes:
    for peer in world.names:
        if peer == name or peer not in reachable or peer not in world.copies:
            continue
        request = VolumeReadRequested(
            volume="default",
            copy=peer,
            request_id="",
            from_lsn=wanted.first_lsn,
            count=wanted.last_lsn - wanted.first_lsn + 1,
            whole_batches=True,
        )
        answer = world.copies[peer].answer(request)
        if answer.floor_lsn >= wanted.first_lsn:
            continue
        if answer.error:
            world.broken(peer, files.LogDamagedError(answer.error))
            continue
        for value, batch in zip(answer.batches, world.copies[peer].batches(answer), strict=True):
            if mender.agrees(wanted, answer, batch):
                return value
    raise mending.NotMendedError(f"nobody has {wanted}")
