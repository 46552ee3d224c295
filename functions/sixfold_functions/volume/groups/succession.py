"""What a new writer of several groups owes to its predecessor's callers: results that are durable and never announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sixfold_events.volume import VolumeDurableAdvanced
from sixfold_functions.volume import announcer, reader, topics
from sixfold_functions.volume import succession as alone
from sixfold_functions.volume.core import parts
from sixfold_functions.volume.core.reunion import Reunion

if TYPE_CHECKING:
    from sixfold_functions.volume.groups.group import GroupWriter
    from sixfold_functions.volume.groups.writer import GroupedWriter

WINDOW_LSNS = 2_000
"""Read at once, backwards from a group's end."""


async def succeed(writer: GroupedWriter, reunion: Reunion) -> int:
    """Queue the announcements that are owed. Returns the next offset of the append requests to take."""
    announced_lsn, announced_offset = max(0, reunion.durable_lsn - alone.RESCAN_LSNS), 0
    for record in await topics.last_records(writer.bus, writer.topics.durable, 1):
        event = topics.decoded(writer.registry, record)
        if isinstance(event, VolumeDurableAdvanced):
            announced_lsn, announced_offset = event.durable_lsn, event.append_offset
    if announced_lsn < reunion.durable_lsn:
        owed: dict[int, parts.Result] = {}
        for group in writer.groups:
            for result in await _results(group, reunion.cuts[group.number].lsn, announced_lsn):
                if result.offset >= announced_offset:
                    owed[result.offset] = result
        results = [owed[offset] for offset in sorted(owed)]
        writer.announcer.add(
            [announcer.Result(each.request_id, each.last_lsn - each.size + 1, each.last_lsn) for each in results]
        )
    return max(announced_offset, reunion.append_offset)


async def _results(group: GroupWriter, end_lsn: int, announced_lsn: int) -> list[parts.Result]:
    """Of the parts of `group` up to its LSN `end_lsn` that reach beyond the volume LSN `announced_lsn`."""
    found: list[parts.Result] = []
    reached = False
    while end_lsn > 0 and not reached:
        first_lsn = max(end_lsn - WINDOW_LSNS + 1, 1)
        lsn = first_lsn
        while lsn <= end_lsn:
            try:
                batches = await alone.read(group, lsn, end_lsn)
            except reader.RecordsGoneError as gone:
                lsn, reached = gone.floor_lsn + 1, True  # their callers do not hear of them any more
                continue
            if not batches:
                await group.wait_change()
            for batch in batches:
                lsn = batch.first_lsn + len(batch.payloads)
                if batch.consistency_points:
                    label = parts.decode(batch.payloads[-1])
                    reached = reached or label.first_lsn <= announced_lsn + 1
                    found.extend(label.results)
        end_lsn = first_lsn - 1
    return found
