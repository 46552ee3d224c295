"""Restoring a volume: where a moment lies among its records, and what the copies of a new volume are told. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from sixfold_events.volume import VolumeRedoBatch, VolumeRestored
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.backup import Batch, Snapshot


class Point(NamedTuple):
    """A consistency point, and what is known there."""

    last_lsn: int = 0
    origin_epoch: int = 0
    """Of the record at `last_lsn`, and the highest up to there: a later record has the same one or a later one."""


class DamagedHistoryError(ValueError):
    """Records that do not follow each other."""


def point_at(batches: Iterable[Batch], at_ms: int) -> Point:
    """The last consistency point whose records were committed at `at_ms` or before; LSN 0 where there is none."""
    found = Point()
    for batch in batches:
        if batch.committed_at_ms > at_ms:
            break
        if batch.consistency_points:
            found = Point(batch.consistency_points[-1], batch.origin_epoch)
    return found


def restored(
    point: Point,
    at_ms: int,
    *,
    volume: str,
    url: str,
    source: str,
    page_bytes: int = 0,
    shared: bool = False,
    snapshot: Snapshot | None = None,
) -> VolumeRestored:
    """What the volume `volume` begins with, that has the past of `source` up to `point`.

    With a `snapshot` its records stand for the log up to there, and those behind it are numbered on from the snapshot's.

    Its epoch is above that past's, and another one for another past or another LSN, so copies that were made from
    different ones never count together.
    """
    identity = f"{volume}\0{url}\0{source}\0{point.last_lsn}\0{point.origin_epoch}\0{shared}".encode()
    if snapshot is not None:
        identity += f"\0{snapshot.lsn}".encode()
    return VolumeRestored(
        volume=volume,
        epoch=epochs.after(point.origin_epoch, zlib.crc32(identity)),
        url=url,
        source=source,
        last_lsn=point.last_lsn if snapshot is None else point.last_lsn - snapshot.lsn + snapshot.records,
        last_epoch=point.origin_epoch,
        at_ms=at_ms,
        page_bytes=page_bytes,
        shared=shared,
        snapshot_lsn=snapshot.lsn if snapshot is not None else 0,
        snapshot_records=snapshot.records if snapshot is not None else 0,
    )


def shift(origin: VolumeRestored) -> int:
    """What an LSN of the log behind the snapshot has more in the new volume than in its source."""
    return origin.snapshot_records - origin.snapshot_lsn


def moved(batch: Batch, lsns: int) -> Batch:
    """`batch`, so many LSNs later."""
    return msgspec.structs.replace(
        batch, first_lsn=batch.first_lsn + lsns, consistency_points=[lsn + lsns for lsn in batch.consistency_points]
    )


def redo(batch: Batch, origin: VolumeRestored) -> VolumeRedoBatch | None:
    """`batch` as copies of the new volume store it: durable from the first moment; None if it lies behind its end."""
    records = origin.last_lsn - batch.first_lsn + 1
    if records <= 0:
        return None
    return VolumeRedoBatch(
        volume=origin.volume,
        epoch=origin.epoch,
        origin_epoch=batch.origin_epoch,
        first_lsn=batch.first_lsn,
        backlink_lsn=batch.first_lsn - 1,
        backlink_epoch=batch.backlink_epoch,
        payloads=batch.payloads[:records],
        consistency_points=[lsn for lsn in batch.consistency_points if lsn <= origin.last_lsn],
        durable_lsn=origin.last_lsn,
        committed_at_ms=batch.committed_at_ms,
    )


def follow(batches: Iterable[Batch], after: Batch | None = None) -> Iterator[Batch]:
    """`batches`, as long as each follows the one before. Raises DamagedHistoryError."""
    for batch in batches:
        lsn, epoch, stamp = (after.last_lsn, after.origin_epoch, after.committed_at_ms) if after else (0, 0, 0)
        if batch.first_lsn != lsn + 1 or not batch.payloads:
            raise DamagedHistoryError(f"LSN {batch.first_lsn} comes after LSN {lsn}, expected LSN {lsn + 1}")
        if batch.backlink_epoch != epoch:
            raise DamagedHistoryError(
                f"the record at LSN {batch.first_lsn} follows one of epoch {epochs.text(batch.backlink_epoch)}, found one "
                f"of epoch {epochs.text(epoch)} before it"
            )
        if batch.committed_at_ms < stamp:
            raise DamagedHistoryError(
                f"LSN {batch.first_lsn} was committed at {batch.committed_at_ms} ms, before {stamp} ms"
            )
        yield batch
        after = batch
