"""How a copy gets the past that its volume begins with, where the volume was restored from a backup or cloned.

The first record of every partition of such a volume says where that past lies. What does the work is in `backup/`, and
is imported only where a volume has a past.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sixfold.bus import port
from sixfold.process import Process
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeReadRequested, VolumeRestored
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import custody, settings
from sixfold_functions.volume.encryption.keyring import Keyring

if TYPE_CHECKING:
    from sixfold_functions.volume.backup.archive import Archive


async def origin_of(bus: port.Bus, volume: str, name: str, registry: Registry) -> VolumeRestored | None:
    """What the copy's partition begins with, if that is a past; None also where its first record is gone."""
    partition = port.TopicPartition(layout.topics(volume).redo, layout.PARTITION[name])
    kept = await bus.offsets(partition)
    if kept.start > 0 or kept.end == 0:
        return None
    async with bus.assign([partition]) as consumer:
        await consumer.seek(partition, 0)
        while True:
            for records in (await consumer.fetch(records_max=1, wait_s=1.0)).values():
                for record in records[:1]:
                    try:
                        event = registry.decode(record.value, record.headers)
                    except ValueError:
                        return None
                    return event if isinstance(event, VolumeRestored) and event.volume == volume else None


async def make(process: Process, volume: str, name: str, folder: Path, *, keyring: Keyring, now_ms: int) -> None:
    """Make the copy's log if its volume has a past and the copy has none.

    Raises KeyRefusedError, and what `building.build` raises.
    """
    bus, registry = process.require_bus(), process.registry
    origin = await origin_of(bus, volume, name, registry)
    if origin is None or not _is_empty(folder, volume, name, registry, keyring, now_ms):
        return
    from sixfold_functions.volume.backup import building

    structlog.get_logger().info(
        "the copy gets its volume's past",
        action="volume.copy.restored",
        volume=volume,
        copy=name,
        source=origin.source,
        store=origin.url,
        last_lsn=origin.last_lsn,
    )

    source = await _archive(process, origin, keyring)

    def work() -> None:
        source.refresh()
        building.build({name: folder}, origin, source, registry=registry, keyring=keyring, now_ms=now_ms)

    await asyncio.to_thread(work)


def _is_empty(folder: Path, volume: str, name: str, registry: Registry, keyring: Keyring, now_ms: int) -> bool:
    if not folder.exists():
        return True
    copy = copies.Copy(disks.OsDisk(), folder, volume=volume, name=name, registry=registry, keyring=keyring)
    try:
        copy.open(now_ms)
        return not copy.node.epoch and not copy.position and not copy.node.joining
    except (files.LogError, copies.PromiseBrokenError):
        return False  # there is a log; its start deals with it
    finally:
        copy.close()


@contextlib.asynccontextmanager
async def connected(copy: copies.Copy, process: Process) -> AsyncIterator[None]:
    """Let a clone's copy read its past in the block. Of that only the keys are read now: it has them before it serves."""
    origin = copy.shared.origin
    if origin is None:
        yield
        return
    from sixfold_functions.volume.backup import keys, past

    source = await _archive(process, origin, copy.keyring)
    copy.shared.past = past.SharedPast(source, origin)
    following = asyncio.create_task(keys.follow(process, source, settings.read(process.options, os.environ)))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _archive(process: Process, origin: VolumeRestored, keyring: Keyring) -> Archive:
    """The backup that the volume begins with, unlocked. Raises KeyRefusedError where it is encrypted, the copy not."""
    from sixfold_functions.volume.backup import archive, keys, store

    found = archive.Archive(store.open_store(origin.url), origin.source)
    await keys.unlock(process, found, settings.read(process.options, os.environ))
    if found.keyring.current is not None and keyring.current is None:
        raise custody.KeyRefusedError(
            f"volume {origin.volume} begins with the encrypted backup of volume {origin.source}, which has no copies in "
            f"plain; name a key for this one: SIXFOLD_VOLUME_KMS_KEY=alias/volume sixfold volume serve {origin.volume}"
        )
    return found


async def prepare(copy: copies.Copy, request: VolumeReadRequested) -> None:
    """Before a clone's copy answers: have what it needs of its past in memory, so that nothing else waits for a store."""
    past = copy.shared.past
    if past is not None and request.count and request.from_lsn <= copy.shared.last_lsn:
        await asyncio.to_thread(past.prepare, request.from_lsn)
