"""A backup that lacks records which the copies have let go: it goes on with a snapshot of the pages that a copy has.

So does one that is begun when the volume is old, and one that was away for longer than it was waited for. What is older
cannot be restored from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadPointHeld, VolumeSnapshotAnswered
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import snapshots as fetching
from sixfold_functions.volume import topics
from sixfold_functions.volume.backup import archive, snapshots, source
from sixfold_functions.volume.core import layout, pages
from sixfold_functions.volume.core import snapshots as deciding
from sixfold_functions.volume.core.backup import Tail
from sixfold_functions.volume.pages import layer as layers
from sixfold_functions.volume.pages import snapshot

HOLD_S = 1.0
"""The state that is read is kept for ten seconds after the last word."""


class Beginner:
    """Of one backup; `folder` is for files that it needs meanwhile."""

    def __init__(
        self,
        bus: port.Bus,
        kept: archive.Archive,
        reader: readers.CopyReader,
        asked: source.Source,
        *,
        clock: clocks.Clock,
        folder: Path,
    ) -> None:
        self._bus = bus
        self._kept = kept
        self._reader = reader
        self._source = asked
        self._clock = clock
        self._folder = folder

    async def begin(self, word: VolumeCopyAcknowledged) -> bool:
        """Take a snapshot of the copy that said `word`; False where it cannot give one just now.

        Raises what `source.Unreadable` lists, SnapshotLostError, StoreError.
        """
        newest = await self._reader.ask_snapshot(word.copy)
        lsn = newest.consistent_lsn
        stored = [batch async for found in self._source.batches(word.copy, lsn, lsn) for batch in found]
        if not newest.page_bytes or lsn <= self._kept.chain.last_lsn or not stored:
            return False
        if stored[0].first_lsn + len(stored[0].payloads) - 1 != lsn:
            return False  # the log must go on with a whole batch
        at = Tail(lsn, stored[0].origin_epoch, stored[0].committed_at_ms)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            label = f"snapshot of {self._kept.volume}"
            place = layers.Place(disks.OsDisk(), Path(name), label, self._kept.keyring)
            async with self._held(lsn):
                layer = await self._fetched(word.copy, lsn, place)
            try:
                images = (change for change in layer.scan() if change.page != pages.SIZE_PAGE)
                footer = layer.footer
                made = deciding.batches(images, page_bytes=footer.page_bytes, size=footer.size, at=at)
                return await asyncio.to_thread(snapshots.Maker(self._kept, self._folder).put, made, at)
            finally:
                layer.close()

    async def _fetched(self, copy: str, lsn: int, place: layers.Place) -> layers.Layer:
        receiving: snapshot.Receiving | None = None

        def take(part: VolumeSnapshotAnswered) -> None:
            nonlocal receiving
            receiving = receiving or snapshot.Receiving(place, part)
            receiving.take(part)

        try:
            await fetching.fetch(self._reader, [copy], take, lsn=lsn)
            assert receiving is not None
            return layers.Layer(place, receiving.finish())
        except BaseException:
            if receiving is not None:
                receiving.give_up()
            raise

    @contextlib.asynccontextmanager
    async def _held(self, lsn: int) -> AsyncIterator[None]:
        """Keep the state at `lsn` readable, as a replica does."""

        async def hold() -> None:
            while True:
                with contextlib.suppress(port.BusError):
                    await self._say(lsn, released=False)
                await self._clock.sleep(HOLD_S)

        holding = asyncio.create_task(hold())
        try:
            yield
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            with contextlib.suppress(port.BusError):
                await self._say(lsn, released=True)

    async def _say(self, lsn: int, *, released: bool) -> None:
        volume = self._kept.volume
        event = VolumeReadPointHeld(
            volume=volume,
            reader=f"backup {self._kept.url}",
            zone="",
            copy="",
            lsn=lsn,
            applied_lsn=lsn,
            durable_lsn=lsn,
            lag_ms=-1.0,
            released=released,
        )
        record = publisher.record_of(event, source=f"/volumes/{volume}/backup", clock=self._clock, partition=0)
        await self._bus.publish([topics.moved(record, layout.topics(volume).read_points)])
