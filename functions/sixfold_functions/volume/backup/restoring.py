"""A new volume with the past of another, up to a moment: restored (it keeps that past itself) or cloned (it shares it).

First the moment is found in the backup; then the new volume's partitions begin with a record that names both. From it
each copy makes its own log at its start, on whatever machine; where all six live on this one, their logs are made here
and at once, which reads and encodes the past one time instead of six.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeRestored
from sixfold_functions.volume import pasts, storage, topics
from sixfold_functions.volume.backup import archive, building, moments, references, snapshots
from sixfold_functions.volume.core import layout, restore
from sixfold_functions.volume.core import snapshots as choosing


class Restored(NamedTuple):
    """A new volume."""

    origin: VolumeRestored
    folders: list[Path]
    """Logs that were made here; none where each copy makes its own."""


def find(kept: archive.Archive, at_ms: int | None, *, volume: str, shared: bool = False) -> VolumeRestored:
    """What `volume` begins with to be as the archive's was at `at_ms`, or at its end.

    Raises RestoreError where the backup does not know that time; also StoreError and ObjectDamagedError.
    """
    kept.refresh()
    first_ms, latest_ms = kept.eras[0].first_ms, kept.latest_ms
    if not kept.chain.last_lsn:
        there = ", ".join(archive.volumes(kept.whole_store)) or "no volume"
        raise building.RestoreError(f"{kept.url} has no backup of volume {kept.volume}; it has those of: {there}")
    wanted_ms = max(latest_ms, kept.chain.last_ms) if at_ms is None else at_ms
    if at_ms is not None and at_ms > latest_ms:
        gap = " Objects are missing behind it; see: sixfold volume verify" if kept.chain.beyond else ""
        raise building.RestoreError(
            f"volume {kept.volume}: {moments.text(wanted_ms)} is later than its latest restorable time, "
            f"{moments.text(latest_ms)}.{gap}"
        )
    era = kept.era(wanted_ms)
    if era is not kept.chain and wanted_ms >= era.last_ms:
        raise building.RestoreError(
            f"volume {kept.volume}: records from LSN {era.last_lsn + 1} to {kept.chain.base_lsn} are gone, so it can be "
            f"restored to moments before {moments.text(era.last_ms)} and from {moments.text(kept.chain.first_ms)} on"
        )
    point = kept.find(wanted_ms)
    if not point.last_lsn:
        if kept.chain.base is not None:
            raise building.RestoreError(
                f"volume {kept.volume}: {moments.text(wanted_ms)} is earlier than its earliest restorable time, "
                f"{moments.text(first_ms)}; what is older than its retention was let go"
            )
        raise building.RestoreError(
            f"volume {kept.volume} had no records at {moments.text(wanted_ms)}; its first one is of {moments.text(first_ms)}"
        )
    return restore.restored(
        point,
        wanted_ms,
        volume=volume,
        url=kept.url,
        source=kept.volume,
        page_bytes=snapshots.page_bytes(kept),
        shared=shared,
        snapshot=choosing.newest(kept.snapshots, era, wanted_ms),
    )


async def announce(bus: port.Bus, origin: VolumeRestored, *, registry: Registry, clock: clocks.Clock) -> None:
    """Have the new volume's partitions begin with `origin`. Raises RestoreError where they have begun otherwise."""
    await bus.create_topics(topics.specs(origin.volume))
    names = layout.topics(origin.volume)
    record = publisher.record_of(origin, source="/volumes/restore", clock=clock)
    ends = [(await bus.offsets(port.TopicPartition(names.redo, place.partition))).end for place in layout.PLACES]
    empty = [place.partition for place, end in zip(layout.PLACES, ends, strict=True) if end == 0]
    await bus.publish(
        [
            port.NewRecord(
                topic=names.redo, value=record.value, key=record.key, headers=record.headers, partition=partition
            )
            for partition in empty
        ]
    )
    for copy in layout.COPIES:
        found = await pasts.origin_of(bus, origin.volume, copy, registry)
        if found is None or found.epoch != origin.epoch:
            what = (
                f"begins with {found.source} at LSN {found.last_lsn} from {found.url}"
                if found
                else "has records already"
            )
            raise building.RestoreError(
                f"volume {origin.volume} {what}; a volume is restored under a name that no volume has had"
            )


async def new_volume(
    bus: port.Bus,
    kept: archive.Archive,
    at_ms: int | None,
    *,
    volume: str,
    shared: bool = False,
    data_dir: Path | None = None,
    registry: Registry,
    clock: clocks.Clock,
    progress: Callable[[int, int], None] = lambda lsn, last_lsn: None,
) -> Restored:
    """Make `volume`; with `data_dir` the six copies' logs as well, in it.

    Repeating it after it was interrupted goes on with the same volume if it asks for the same moment. Raises
    RestoreError, StoreError, ObjectDamagedError and the segment log's errors.
    """
    topics.specs(volume)  # is it a name?
    folders = (
        {copy: storage.folder_of(data_dir, volume, copy) for copy in layout.COPIES} if data_dir is not None else {}
    )
    there = [str(folder) for folder in folders.values() if folder.exists()]
    if there:
        raise building.RestoreError(f"there is a volume {volume} already: {there[0]}; choose another name")
    origin = await asyncio.to_thread(find, kept, at_ms, volume=volume, shared=shared)
    await asyncio.to_thread(references.refer, kept, origin, clocks.now_ms(clock))
    await announce(bus, origin, registry=registry, clock=clock)
    if folders:
        await asyncio.to_thread(
            building.build,
            folders,
            origin,
            kept,
            registry=registry,
            now_ms=clocks.now_ms(clock),
            progress=lambda lsn: progress(lsn, origin.last_lsn),
        )
    return Restored(origin, list(folders.values()))
