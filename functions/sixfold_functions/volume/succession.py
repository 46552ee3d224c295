"""What a new writer owes to its predecessor's callers: results that are durable and were never announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sixfold_events.volume import VolumeDurableAdvanced, VolumeRedoBatch
from sixfold_functions.volume import announcer, reader, topics

if TYPE_CHECKING:
    from sixfold_functions.volume.writer import VolumeWriter

RESCAN_LSNS = 10_000
"""Where no announcement is left to say what was announced, the results of this many last records are announced."""


async def succeed(writer: VolumeWriter) -> int:
    """Queue the announcements that are owed. Returns the next offset of `volume.append` to take."""
    assert writer.recovery.beginning is not None
    source, last_lsn = writer.recovery.beginning.source, writer.recovery.beginning.durable_lsn
    announced_lsn, announced_offset = max(0, last_lsn - RESCAN_LSNS), 0
    for record in await topics.last_records(writer.bus, writer.topics.durable, 1):
        event = writer.registry.decode(record.value, record.headers)
        if isinstance(event, VolumeDurableAdvanced):
            announced_lsn, announced_offset = event.durable_lsn, event.append_offset
    results: list[announcer.Result] = []
    lsn = announced_lsn + 1
    while lsn <= last_lsn:
        try:
            batches = await read(writer, lsn, last_lsn)
        except reader.RecordsGoneError as gone:
            lsn = gone.floor_lsn + 1  # their callers do not hear of them any more
            continue
        if not batches:
            await writer.wait_change()
        for batch in batches:
            lsn = batch.first_lsn + len(batch.payloads)
            results.extend(_results(batch, announced_offset))
    if results:
        structlog.get_logger().info(
            "results of a predecessor", action="volume.results.recovered", volume=writer.volume, count=len(results)
        )
        writer.announcer.add(results)
    return max(announced_offset, source.append_offset)


async def read(writer: VolumeWriter, first_lsn: int, last_lsn: int) -> list[VolumeRedoBatch]:
    """Stored batches of any copy of the epoch that has them; none where none answers now.

    Raises RecordsGoneError where no copy that answers keeps them any more, with what is kept longest.
    """
    gone: reader.RecordsGoneError | None = None
    for source in writer.repairer.sources(first_lsn, but=""):
        try:
            return await writer.repairer.read(source, first_lsn, last_lsn)
        except reader.RecordsGoneError as error:
            gone = error if gone is None or error.floor_lsn < gone.floor_lsn else gone
        except (reader.CopyUnreachableError, reader.CopyDamagedError):
            continue
    if gone is not None:
        raise gone
    return []


def _results(batch: VolumeRedoBatch, announced_offset: int) -> list[announcer.Result]:
    ends = zip(batch.request_ids, batch.request_last_lsns, batch.request_sizes, batch.request_offsets, strict=True)
    return [
        announcer.Result(request_id, last_lsn - size + 1, last_lsn)
        for request_id, last_lsn, size, offset in ends
        if offset >= announced_offset
    ]
