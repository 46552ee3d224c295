"""The service `volume.backup`: keeps a volume's backup up to date, and small.

It knows nothing that the object store does not: after a kill at any point it lists what is there and goes on behind
the last record. Two of them do no harm.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold import errors, publisher
from sixfold.bus import port
from sixfold.process import Process
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeBackedUp, VolumeCopyAcknowledged, VolumeRedoBatch
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster, topics
from sixfold_functions.volume import snapshots as fetching
from sixfold_functions.volume.backup import archive, beginning, keeping, keys, objects, settings, source, store
from sixfold_functions.volume.core import backup, layout
from sixfold_functions.volume.core.tracker import QuorumTracker
from sixfold_functions.volume.encryption import custody
from sixfold_functions.volume.encryption import settings as encryption

TELL_S = 30.0
"""Copies are told at least this often how far the backup is; at once where it came further."""
ONCE_S = 5.0
"""How long a backup of now waits for the copies to learn what is durable now; with a writer it is a tenth of a second."""


class OtherVolumeError(archive.BackupError):
    """The backup is of another volume with the same name."""


class OvertakenError(archive.BackupError):
    """The volume has let go of records that the backup has not got."""


class BackupService:
    """Backs one volume up."""

    def __init__(
        self,
        bus: port.Bus,
        kept: archive.Archive,
        *,
        registry: Registry,
        clock: clocks.Clock,
        chosen: settings.BackupSettings,
        folder: Path,
    ) -> None:
        """`folder` is for files that it needs while it makes a snapshot."""
        self._bus = bus
        self._clock = clock
        self._archive = kept
        self._settings = chosen
        self._reader = readers.CopyReader(bus, registry=registry, clock=clock, volume=kept.volume)
        self._members = roster.Listener(bus, registry=registry, clock=clock, volume=kept.volume, use=self._reader.use)
        self._source = source.Source(self._reader, registry)
        self._tail: backup.Tail | None = None
        self._same = False
        """Whether the volume and what is in the store have been found to be one."""
        self._compacted_at = -chosen.compact_every_s
        self._beginner = beginning.Beginner(bus, kept, self._reader, self._source, clock=clock, folder=folder)
        self._keeper = keeping.Keeper(kept, folder, clock=clock, chosen=chosen)
        self._told = 0, -TELL_S
        """What the copies were told last, and when."""
        self._log = structlog.get_logger().bind(volume=kept.volume, store=kept.url)

    async def run(self, stopping: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stopping`. Raises OtherVolumeError."""
        async with self._reader, self._members:
            if ready is not None:
                ready()
            try:
                while not stopping.is_set():
                    await self._try()
                    await self._pause(stopping)
            finally:
                await self._keeper.stop()

    async def _try(self) -> None:
        try:
            if await self.step():
                self._keeper.begin()
        except (store.StoreError, archive.BackupError, objects.ObjectDamagedError, port.BusError) as error:
            if isinstance(error, OtherVolumeError):
                raise
            self._tail = None  # what was written although it failed, the next listing tells
            self._log.warning("a backup has to wait", action="volume.backup.failed", error=str(error))

    async def _pause(self, stopping: asyncio.Event) -> None:
        waiting = [
            asyncio.create_task(stopping.wait()),
            asyncio.create_task(self._clock.sleep(self._settings.every_s)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def once(self) -> None:
        """Bring the backup up to what is durable now, without staying.

        Copies learn a moment later that their last records are durable; where no writer tells them, those are left out.
        """
        async with self._reader, self._members:
            durable_lsn = self._durable_lsn(await self._source.words())
            deadline = self._clock.monotonic() + ONCE_S
            while True:
                await self.step()
                if self._archive.chain.last_lsn >= durable_lsn or self._clock.monotonic() >= deadline:
                    return
                await self._clock.sleep(topics.BUS_RETRY_S)

    def _durable_lsn(self, words: list[VolumeCopyAcknowledged]) -> int:
        """What a write quorum says it has on disk."""
        epoch = max((word.epoch for word in words), default=0)
        counted = QuorumTracker(epoch=epoch, membership=self._members.membership)
        for word in words:
            counted.on_ack(word)
        return counted.durable_lsn

    async def step(self) -> bool:
        """Take all that is durable now; whether objects were merged as well, which is done now and then.

        Raises StoreError, BackupError, ObjectDamagedError, BusError.
        """
        if self._tail is None:
            await asyncio.to_thread(self._archive.refresh)
            self._tail = await asyncio.to_thread(self._archive.tail)
        membership = self._members.membership
        words = await self._source.words()
        gone: list[tuple[VolumeCopyAcknowledged, readers.RecordsGoneError]] = []
        for word in words:
            if not self._same:
                self._same = await self._compare(word, min(self._tail.last_lsn, word.settled_lsn))
            if not self._same:
                continue
            try:
                await self._take(word.copy, word.settled_lsn)
                break
            except readers.RecordsGoneError as error:
                gone.append((word, error))
            except source.Unreadable:
                continue  # another copy has it too
        else:
            if gone and not await self._begin_with_pages(gone):
                raise OvertakenError(
                    f"{self._archive.url}: the backup of volume {self._archive.volume} ends at LSN {self._tail.last_lsn}, "
                    f"and no copy that answers keeps what follows, or can give its pages just now ({gone[0][1]}). What it "
                    "has stays restorable; a backup of a plain log goes on at another place (--to URL) of a volume that is new"
                )
        if self._same and (quiet := backup.promise(words, membership=membership)) is not None:
            await asyncio.to_thread(self._archive.note, quiet)
        if self._same:
            await self._tell(self._tail.last_lsn)
        now = self._clock.monotonic()
        if now - self._compacted_at < self._settings.compact_every_s:
            return False
        self._compacted_at = now
        await asyncio.to_thread(self._archive.refresh)
        await asyncio.to_thread(self._archive.compact, retention_ms=self._settings.retention_ms)
        return True

    async def _tell(self, last_lsn: int) -> None:
        """Have the copies know what they need not keep for this backup."""
        now = self._clock.monotonic()
        if last_lsn == self._told[0] and now - self._told[1] < TELL_S:
            return
        event = VolumeBackedUp(volume=self._archive.volume, backup=self._archive.url, last_lsn=last_lsn)
        source = f"/volumes/{self._archive.volume}/backup"
        record = publisher.record_of(event, source=source, clock=self._clock, partition=0)
        await self._bus.publish([topics.moved(record, layout.topics(self._archive.volume).retention)])
        self._told = last_lsn, now

    async def _begin_with_pages(self, gone: Sequence[tuple[VolumeCopyAcknowledged, readers.RecordsGoneError]]) -> bool:
        """The copies have let go of what comes next: go on behind the pages of one. False where none gives them now."""
        assert self._tail is not None
        for word, error in gone:
            try:
                done = await self._beginner.begin(word)
            except (*source.Unreadable, fetching.SnapshotLostError) as lost:
                self._log.warning("no pages can be had", action="volume.backup.gap", copy=word.copy, error=str(lost))
                continue
            if done:
                self._log.warning(
                    "records that the backup lacks are gone; it goes on behind the pages of a copy",
                    action="volume.backup.gap",
                    copy=word.copy,
                    first_lsn=self._tail.last_lsn + 1,
                    last_lsn=error.floor_lsn,
                )
                await asyncio.to_thread(self._archive.refresh)
                self._tail = await asyncio.to_thread(self._archive.tail)
                return True
        return False

    async def _compare(self, word: VolumeCopyAcknowledged, lsn: int) -> bool:
        """Whether the copy and the backup agree about the record at `lsn`. Raises OtherVolumeError where they do not."""
        assert self._tail is not None
        if not lsn:
            return not self._tail.last_lsn
        if lsn < self._archive.chain.base_lsn:
            return False  # the backup has let go of it; another copy knows more
        same: bool | None = None
        try:
            async for found in self._source.batches(word.copy, lsn, lsn):
                same = await self._is_the_same(found[0], lsn)
                break
        except readers.RecordsGoneError:
            # What the backup has the copy need not keep. The next record tells whether it follows, if there is one.
            if lsn == self._tail.last_lsn:
                same = word.consistent_lsn != lsn or word.consistent_epoch == self._tail.origin_epoch
        except source.Unreadable:
            return False
        if same is False:
            raise OtherVolumeError(
                f"{self._archive.url} holds a backup of another volume {self._archive.volume}: their records at LSN "
                f"{lsn} differ. Give this one a place of its own (--to URL), or move that backup away"
            )
        return bool(same)

    async def _is_the_same(self, found: VolumeRedoBatch, lsn: int) -> bool:
        """Whether a copy's batch with the record at `lsn` is the backup's."""
        base = self._archive.chain.base
        if base is not None and lsn == base.lsn:  # of the record itself there is no more than this
            known = await asyncio.to_thread(self._archive.point, base)
            return (found.origin_epoch, found.committed_at_ms) == (known.origin_epoch, known.last_ms)
        [kept, *_] = await asyncio.to_thread(lambda: list(self._archive.batches(lsn, lsn)))
        its = (kept.first_lsn, kept.origin_epoch, kept.committed_at_ms, kept.payloads)
        return its == (found.first_lsn, found.origin_epoch, found.committed_at_ms, found.payloads)

    async def _take(self, copy: str, settled_lsn: int) -> None:
        assert self._tail is not None
        gathered: list[backup.Batch] = []
        size = 0
        first_lsn = self._tail.last_lsn + 1
        async for found in self._source.batches(copy, first_lsn, settled_lsn):
            for batch in self._taken(found, gathered, settled_lsn):
                gathered.append(batch)
                size += sum(map(len, batch.payloads))
            if size >= archive.TAKEN_BYTES_MAX:
                await self._keep(gathered)
                gathered, size = [], 0
        await self._keep(gathered)

    def _taken(
        self, found: list[VolumeRedoBatch], gathered: list[backup.Batch], settled_lsn: int
    ) -> list[backup.Batch]:
        tail = self._tail
        assert tail is not None
        if gathered:
            last = gathered[-1]
            tail = backup.Tail(last.last_lsn, last.origin_epoch, last.committed_at_ms)
        try:
            return list(tail.taken(found, settled_lsn))
        except backup.HistoryError as error:
            raise OtherVolumeError(
                f"{self._archive.url}: the backup of volume {self._archive.volume} does not go on: {error}. Move that backup "
                "away, or give this volume a place of its own (--to URL)"
            ) from error

    async def _keep(self, batches: list[backup.Batch]) -> None:
        if batches:
            await asyncio.to_thread(self._archive.add, batches)
            last = batches[-1]
            self._tail = backup.Tail(last.last_lsn, last.origin_epoch, last.committed_at_ms)
            self._log.debug("backed up", action="volume.backup.taken", last_lsn=last.last_lsn)


async def run(process: Process) -> None:
    """The service's entry: `sixfold run volume.backup --to s3://bucket/prefix`."""
    volume = process.options.get("volume", layout.DEFAULT_VOLUME)
    url = process.options.get("to", str(settings.default_folder(process.data_dir)))
    chosen = settings.BackupSettings(retention_days=_days(process.options.get("retention-days")))
    bus = process.require_bus()
    await bus.create_topics(topics.specs(volume))
    kept = archive.Archive(store.open_store(url), volume)
    named = encryption.read(process.options, os.environ)
    unlocking = keys.unlock(process, kept, named, making=True)
    await custody.unless_stopped(process, unlocking)
    if process.stopping.is_set():
        return
    folder = process.data_dir / settings.SCRATCH
    service = BackupService(bus, kept, registry=process.registry, clock=process.clock, chosen=chosen, folder=folder)
    following = asyncio.create_task(keys.follow(process, kept, named))
    try:
        await service.run(process.stopping, process.ready)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _days(text: str | None) -> int:
    if text is None:
        return settings.RETENTION_DAYS
    if not text.isdecimal() or not 1 <= int(text) <= settings.RETENTION_DAYS_MAX:
        raise errors.UsageError(f"--retention-days {text}: expected a number of 1 to {settings.RETENTION_DAYS_MAX}")
    return int(text)
