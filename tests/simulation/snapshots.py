"""Copies of a simulated world that begin with another one's pages, since nobody keeps the records that they lack."""

from __future__ import annotations

from collections.abc import Collection

from tests.simulation.world import World

from sixfold_events.volume import VolumeReadRequested, VolumeSnapshotAnswered, VolumeSnapshotRequested
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files
from sixfold_functions.volume.core import gossip, joining
from sixfold_functions.volume.pages import snapshot

PART_BYTES = 300
KILLED = 0.02
"""Chance that the copy's process ends before a part."""


def step(world: World, name: str, reachable: Collection[str]) -> None:
    """The copy looks whether it needs pages, and takes them from those that it reaches: what the service does."""
    copy = world.copies[name]
    node, lacking = copy.node, copy.pages.lacking
    mine = gossip.own(node, copy.position)
    if not (lacking or mine.lacks or node.joining):
        return
    peers = [peer for peer in node.membership.members if peer != name and peer in reachable and peer in world.copies]
    answers = [world.copies[peer].answer(_how(peer)) for peer in peers]
    able = joining.sources(mine, answers, pages_from_lsn=copy.floor_lsn if lacking else 0)
    if able:
        try:
            _take(world, name, copy, able)
        except files.LogError as error:
            world.broken(name, error)


def step_all(world: World) -> None:
    """Each copy that runs, and reaches all others."""
    for name in sorted(world.copies):
        if name in world.copies:
            step(world, name, world.names)


def _how(peer: str) -> VolumeReadRequested:
    return VolumeReadRequested(volume="default", copy=peer, request_id="", from_lsn=1, count=0)


def _take(world: World, name: str, copy: copies.Copy, able: list[str]) -> None:
    receiving: snapshot.Receiving | None = None
    while receiving is None or receiving.next_page >= 0:
        if world.unreliable and world.rng.random() < KILLED:
            world.hits["copy killed while it gets pages"] += 1
            if receiving is not None:
                receiving.give_up()
            world.kill(name)
            return
        part = _asked(world, able, receiving)
        if part is None:
            if receiving is not None:
                receiving.give_up()
            return
        if part.lsn < (copy.floor_lsn if copy.pages.lacking else copy.node.prefix.chained_lsn + 1):
            return
        receiving = receiving or snapshot.Receiving(copy.pages.place, part)
        receiving.take(part)
    events = joining.leading(receiving.word, gossip.own(copy.node, copy.position))
    if events is None:
        receiving.give_up()
        return
    world.hits["copy began with pages"] += 1
    ack = copy.begin_afresh(
        events,
        receiving.finish(),
        receiving.end,
        page_bytes=receiving.page_bytes,
        clock_ms=receiving.word.status.clock_ms,
    )
    if ack is not None:
        world.hits["log began afresh"] += 1
        world.afresh.add(name)
        world.acks.append(ack)


def _asked(world: World, able: list[str], receiving: snapshot.Receiving | None) -> VolumeSnapshotAnswered | None:
    """The next part, of any of them that has it; what is lost on its way is asked for again."""
    lsn, first_page = (0, 0) if receiving is None else (receiving.end.last_lsn, receiving.next_page)
    for peer in world.rng.sample(able, len(able)):
        if world.rng.random() < 2 * world.unreliable or peer not in world.copies:
            continue
        request = VolumeSnapshotRequested(volume="default", copy=peer, request_id="", lsn=lsn, first_page=first_page)
        part = snapshot.answer(world.copies[peer].pages, request, part_bytes_max=PART_BYTES)
        if not part.error:
            return part
    return None
