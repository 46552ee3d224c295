"""All pages of a volume, for a replica that begins with them in place of the log from its first record.

begun = await begin_with_pages(bus, registry=registry, volume="data", put=lambda page, content: ...)
async with VolumeReplica(bus, registry=registry, volume="data", start_lsn=begun.lsn, apply=...) as replica: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import NamedTuple

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeReadPointHeld, VolumeSnapshotAnswered
from sixfold_functions.volume import errors, roster, snapshots, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.pages import snapshot

HOLD_S = 1.0


class NoPagesError(errors.VolumeError):
    """No copy gives the volume's pages; the message says what each said."""


class Begun(NamedTuple):
    """The state that was given."""

    lsn: int
    """A consistency point: the pages are as all records up to here make them."""
    page_bytes: int
    size: int
    """Pages of the volume. One that was not given is zeros."""


async def begin_with_pages(
    bus: port.Bus,
    *,
    registry: Registry,
    put: Callable[[int, bytes], None],
    volume: str = layout.DEFAULT_VOLUME,
    clock: clocks.Clock | None = None,
) -> Begun:
    """Give each page that was ever written to `put`, in the order of their numbers, as they are at one moment.

    Some megabytes are in memory at most. Start a `VolumeReplica` at the LSN within ten seconds: so long are the records
    behind it sure to be kept. Raises NoPagesError, CopyUnreachableError.
    """
    clock = clock or clocks.SystemClock()
    first: VolumeSnapshotAnswered | None = None

    def take(part: VolumeSnapshotAnswered) -> None:
        nonlocal first
        for change, content in snapshot.contents(part):
            put(change.page, content)
        first = first or part

    async with readers.CopyReader(bus, registry=registry, clock=clock, volume=volume) as reader:
        reader.use((await roster.load(bus, registry, volume))[0].membership)
        sources = await _sources(reader, volume)
        lsn = await _consistency_point(reader, sources, volume)
        holding = asyncio.create_task(_hold(bus, volume, lsn, clock), name="volume-pages-read-point")
        try:
            await snapshots.fetch(reader, sources, take, lsn=lsn)
        except snapshots.SnapshotLostError as error:
            raise NoPagesError(f"volume {volume}: {error}") from error
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
    assert first is not None
    return Begun(lsn, first.page_bytes, first.size)


async def _sources(reader: readers.CopyReader, volume: str) -> list[str]:
    """The copies that hold pages, the one that is furthest first."""
    answers = (await reader.ask_all()).values()
    if not answers:
        raise readers.CopyUnreachableError(
            f"volume {volume}: none of its copies answers; start them: sixfold volume start all"
        )
    able = sorted((each for each in answers if each.page_bytes), key=lambda each: -each.status.settled_lsn)
    if not able:
        raise NoPagesError(f"volume {volume} holds no pages; a replica of plain records begins with their log")
    return [each.copy for each in able]


async def _consistency_point(reader: readers.CopyReader, sources: list[str], volume: str) -> int:
    """The last one that a copy's pages have reached."""
    said = []
    for copy in sources:
        try:
            return (await reader.ask_snapshot(copy)).consistent_lsn
        except (readers.CopyUnreachableError, readers.CopyDamagedError) as error:
            said.append(str(error))
    raise NoPagesError(f"volume {volume}: {'; '.join(said)}")


async def _hold(bus: port.Bus, volume: str, lsn: int, clock: clocks.Clock) -> None:
    """Keep the state readable, once a second."""
    event = VolumeReadPointHeld(
        volume=volume,
        reader=f"pages-{uuid.uuid4().hex[:8]}",
        zone="",
        copy="",
        lsn=lsn,
        applied_lsn=lsn,
        durable_lsn=lsn,
        lag_ms=-1.0,
    )
    record = publisher.record_of(event, source="/volumes/pages", clock=clock, partition=0)
    while True:
        with contextlib.suppress(port.BusError):
            await bus.publish([topics.moved(record, layout.topics(volume).read_points)])
        await clock.sleep(HOLD_S)
