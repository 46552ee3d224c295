"""Copies that are encrypted at rest, with records that begin with a mark."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.lossy import LossyDisk
from tests.simulation.world import World
from tests.simulation.writer import Writer, settle

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import segments
from sixfold_functions.volume.encryption.keyring import Keyring

A1 = Path("/volume/a1")
LABEL = "copy a1 of volume default"
SEGMENT_BYTES = 3000
MARK = b"secret-payload"


def grown(appends: int = 60, *, encrypted: bool = True, size: int = SEGMENT_BYTES) -> World:
    """A volume whose records begin with MARK."""
    world = World(3, segment_bytes_max=size, encrypted=encrypted)
    append(world, appends, "w")
    return world


def append(world: World, appends: int, name: str) -> None:
    writer = Writer(world, f"{MARK.decode()}-{name}")
    settle(world, writer)
    for _ in range(appends):
        writer.append()
        world.deliver_all()
        writer.listen()
    settle(world, writer, rounds=3)


def restart(world: World, copy: str = "a1") -> None:
    if copy in world.copies:
        world.copies[copy].close()
    world.disks[copy].end_process()
    world.start(copy)


def content(disk: LossyDisk) -> dict[str, bytes]:
    return {name: disk.open(A1 / name).read_at(0, 1 << 30) for name in disk.names(A1)}


def log(disk: disks.Disk, keyring: Keyring | None, *, size: int = SEGMENT_BYTES) -> segments.SegmentLog:
    return segments.SegmentLog(disk, A1, label=LABEL, segment_bytes_max=size, keyring=keyring)


def rewrite_all(world: World, copy: str = "a1") -> int:
    """Everything that is to be; how many segments it was."""
    rewriter = world.copies[copy].rewriter()
    stale = rewriter.stale()
    for held in stale:
        for _ in rewriter.rewrite(held.segment):
            pass
    assert rewriter.stale() == []
    return len(stale)


def rotate(world: World, *, reencrypt: bool = True, copy: str = "a1") -> None:
    world.copies[copy].rotate(world.keys[copy].fresh(), reencrypt=reencrypt)
