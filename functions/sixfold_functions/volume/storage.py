"""The service `volume.storage`: one copy of the volume as a process of its own.

It reads its own partition by pinned assignment, never through a group: a rebalance would hand a dead node's copy to
another node, and one disk would hold two. Its position is in its own log.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors, publisher
from sixfold.bus import port
from sixfold.process import Process
from sixfold_events import Event
from sixfold_events.registry import Registry
from sixfold_events.volume import (
    VolumeCopyAcknowledged,
    VolumeKeysRequested,
    VolumePagesAnswered,
    VolumePagesRequested,
    VolumeReadAnswered,
    VolumeReadRequested,
    VolumeScrubReported,
    VolumeScrubRequested,
    VolumeSnapshotAnswered,
    VolumeSnapshotRequested,
)
from sixfold_functions.volume import (
    answering,
    collecting,
    files,
    gossip,
    pasts,
    rejoining,
    roster,
    scrubber,
    snapshots,
    topics,
)
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.encryption import custody, inventory, settings
from sixfold_functions.volume.encryption.service import KeyService
from sixfold_functions.volume.grouping import grouped
from sixfold_functions.volume.pages import snapshot

T = TypeVar("T")
Answer = VolumeReadAnswered | VolumePagesAnswered | VolumeSnapshotAnswered

FETCH_RECORDS_MAX = 500


def folder_of(data_dir: Path, volume: str, copy: str) -> Path:
    """Where a copy keeps its log."""
    return data_dir / "volume" / volume / copy


class StorageService:
    """Connects one copy with its bus partitions."""

    def __init__(
        self,
        bus: port.Bus,
        copy: copies.Copy,
        place: layout.Place,
        *,
        keys: KeyService,
        registry: Registry,
        clock: clocks.Clock,
        pace: scrubber.Pace | None = None,
    ) -> None:
        name, volume = copy.node.copy, copy.node.volume
        self._bus = bus
        self._copy = copy
        self._keys = keys
        self._keys_asked: asyncio.Queue[VolumeKeysRequested] = asyncio.Queue()
        self._registry = registry
        self._clock = clock
        self._topics = layout.topics(volume)
        self._redo = port.TopicPartition(self._topics.redo, place.partition)
        self._reads = port.TopicPartition(self._topics.reads, place.partition)
        self._source = f"/volumes/{volume}/copies/{name}"
        self._log = structlog.get_logger().bind(volume=volume, copy=name)
        self._ack: VolumeCopyAcknowledged | None = None
        self._ack_due = asyncio.Event()
        self._gossip = gossip.Gossip(
            copy, bus, registry=registry, clock=clock, partition=place.partition, acknowledge=self._acknowledge
        )
        self._snapshots = snapshots.Snapshots(copy, bus, registry=registry, clock=clock, acknowledge=self._acknowledge)
        self._consumed = asyncio.Event()
        self._scrubber = scrubber.Scrubber(copy, bus, registry=registry, clock=clock, report=self._report, pace=pace)

    async def run(self, stopping: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stopping`, or until the copy is no member any more.

        Any failure of the disk ends it with the segment log's error.
        """
        start = await self._start_offset()
        async with self._bus.assign([self._redo]) as redo, self._bus.assign([self._reads], start=port.LATEST) as reads:
            await redo.seek(self._redo, start)
            await reads.seek(self._reads, (await self._bus.offsets(self._reads)).end)
            self._acknowledge(self._copy.node.acknowledgement())
            if ready is not None:
                ready()
            self._log.info("copy is up", action="volume.copy.started", position=start, **self._lsns())
            tasks = [
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("redo", self._consume(redo)),
                    ("acks", self._publish_acks()),
                    ("reads", self._answer(reads)),
                    ("gossip", self._gossip.run()),
                    ("pages", self._make_pages()),
                    ("snapshots", self._snapshots.run()),
                    ("collection", collecting.run(self._copy, self._clock)),
                    ("keys", self._answer_keys()),
                    ("reencryption", self._keys.run()),
                    ("scrub", self._scrubber.run()),
                    ("stop", stopping.wait()),
                )
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._log.info("copy stops", action="volume.copy.stopped", **self._lsns())

    def _lsns(self) -> dict[str, int]:
        node = self._copy.node
        return {"complete_lsn": node.prefix.complete_lsn, "incarnation": node.incarnation}

    async def _start_offset(self) -> int:
        """Where to read on. The broker may have lost or dropped records; the copy's log is what counts."""
        kept = await self._bus.offsets(self._redo)
        position = self._copy.position
        new = self._copy.node.copy not in layout.COPIES
        if position == 0 and not self._copy.node.epoch and (kept.start > 0 or new):
            # An empty log, and the first records are not to be had from the partition: they were dropped, and nobody
            # knows what this copy had acknowledged, or the copy came later than they did.
            self._log.warning(
                "the copy is new or lost its log; it gets everything from the others and counts once it is level",
                action="volume.copy.joining",
                partition_start=kept.start,
            )
            self._copy.join()
        if position > kept.end:
            self._log.warning("the partition is shorter than what was read", action="volume.redo.shrunk", end=kept.end)
            return kept.start  # what is read twice is known by its epoch and LSN
        return max(position, kept.start)

    async def _consume(self, consumer: port.Consumer) -> None:
        while not self._copy.node.removed:
            for group in grouped(await self._fetch(consumer)):
                self._acknowledge(self._copy.consume(group))
                self._consumed.set()
        roster.say_removed(self._log, self._copy.node.membership)

    async def _make_pages(self) -> None:
        """In short steps, so that batches and readers wait for none of it."""
        while True:
            if self._copy.pages.work():
                await asyncio.sleep(0)
            else:
                self._consumed.clear()
                await self._consumed.wait()

    async def _fetch(self, consumer: port.Consumer) -> list[port.Record]:
        try:
            fetched = await consumer.fetch(records_max=FETCH_RECORDS_MAX, wait_s=5.0)
        except port.BusError as error:
            self._log.warning("the bus does not answer", action="volume.bus.failed", error=str(error))
            await self._clock.sleep(topics.BUS_RETRY_S)
            return []
        return [record for records in fetched.values() for record in records]

    def _acknowledge(self, ack: VolumeCopyAcknowledged) -> None:
        self._ack = ack
        self._ack_due.set()

    async def _publish_acks(self) -> None:
        """While one acknowledgement is on its way, the next batches are fsynced; the newest word holds all."""
        while True:
            await self._ack_due.wait()
            self._ack_due.clear()
            if self._ack is not None:
                await self._publish(self._record(self._ack, self._topics.acks))

    def _record(self, event: Event, topic: str, partition: int = 0) -> port.NewRecord:
        record = publisher.record_of(event, source=self._source, clock=self._clock, partition=partition)
        return topics.moved(record, topic)

    async def _publish(self, record: port.NewRecord) -> None:
        """Publish, again and again. Raises RecordTooLargeError: what cannot be stored now never can."""
        while True:
            try:
                await self._bus.publish([record])
                return
            except port.RecordTooLargeError:
                raise
            except port.BusError as error:
                self._log.warning("the bus does not take it", action="volume.bus.failed", error=str(error))
                await self._clock.sleep(topics.BUS_RETRY_S)

    async def _answer(self, consumer: port.Consumer) -> None:
        while True:
            for record in await self._fetch(consumer):
                try:
                    request = self._registry.decode(record.value, record.headers)
                except ValueError:
                    continue  # not a request
                if isinstance(request, VolumeReadAnswered):
                    self._gossip.hear(request)  # to this copy, which had asked
                if not isinstance(request, readers.Request | VolumeScrubRequested):
                    continue
                if request.copy != self._copy.node.copy:
                    continue
                if isinstance(request, VolumeScrubRequested):
                    self._scrubber.request(request)
                elif isinstance(request, VolumePagesRequested):
                    await self._reply(self._copy.pages.answer(request))
                elif isinstance(request, VolumeSnapshotRequested):
                    await self._reply(snapshot.answer(self._copy.pages, request))
                elif isinstance(request, VolumeReadRequested):
                    await pasts.prepare(self._copy, request)
                    answer = msgspec.structs.replace(self._copy.answer(request), damaged=self._scrubber.damaged)
                    await self._reply(answer, request.answer_partition)
                else:
                    self._keys_asked.put_nowait(request)

    async def _answer_keys(self) -> None:
        """Beside the reads: the key service may take its time."""
        while True:
            answer = await self._keys.answer(await self._keys_asked.get())
            self._consumed.set()  # layers may have to be written anew
            await self._publish(self._record(answer, self._topics.read_results))

    async def _report(self, event: VolumeScrubReported) -> None:
        await self._publish(self._record(event, self._topics.read_results))

    async def _reply(self, answer: Answer, partition: int = -1) -> None:
        """To the copy that asked, in its `partition`; else to all who ask."""
        try:
            if partition < 0:
                await self._publish(self._record(answer, self._topics.read_results))
            else:
                await self._publish(self._record(answer, self._topics.reads, partition))
        except port.RecordTooLargeError as error:
            # Trying again would keep this copy from every later reader.
            self._log.warning("an answer cannot be stored", action="volume.answer.dropped", error=str(error))
            if isinstance(answer, VolumeReadAnswered) and not answer.error:
                text = f"copy {answer.copy} cannot send what it was asked for: {error}; ask for fewer records"
                await self._reply(answering.refused(answer, text), partition)


async def run(process: Process) -> None:
    """The service's entry: `sixfold run volume.storage --copy a1`. Returns by itself once the copy was replaced."""
    name = process.options.get("copy", "")
    volume = process.options.get("volume", layout.DEFAULT_VOLUME)
    pace = scrubber.pace_of(process.options.get("scrub-mb-per-s") or os.environ.get("SIXFOLD_VOLUME_SCRUB_MB_PER_S"))
    bus, disk, folder = process.require_bus(), disks.OsDisk(), folder_of(process.data_dir, volume, name)
    await bus.create_topics(topics.specs(volume))
    announced = (await roster.load_alone(bus, process.registry, volume))[0].membership
    place = announced.place(name)
    if place is None:
        raise errors.UsageError(f"--copy {name!r}: expected one of {', '.join(announced.members)}")
    if announced.is_removed(name):
        roster.say_removed(structlog.get_logger().bind(volume=volume, copy=name), announced)
        process.finished = True
        return
    await roster.grow(bus, volume, announced)
    custodian = custody.of_copy(process, settings.read(process.options, os.environ), volume, name)
    held = inventory.segments(disk, folder), inventory.layers(disk, folder)
    keyring = await custody.unless_stopped(process, custodian.keyring(*held))
    if keyring is None:
        return
    now_ms = clocks.now_ms(process.clock)
    if name in layout.COPIES:  # a later one gets the past from the others
        await pasts.make(process, volume, name, folder, keyring=keyring, now_ms=now_ms)
    copy = copies.Copy(disk, folder, volume=volume, name=name, registry=process.registry, keyring=keyring)
    try:
        copy.open(now_ms)
    except (files.LogDamagedError, copies.PromiseBrokenError) as damage:
        try:
            await rejoining.set_aside(process, disk, folder, damage, volume=volume, copy=name)
        finally:
            copy.close()
        copy = copies.Copy(disk, folder, volume=volume, name=name, registry=process.registry, keyring=keyring)
        copy.open(clocks.now_ms(process.clock))
        copy.join()  # wherever its partition begins: it may have acknowledged what is in neither
    try:
        keys = KeyService(copy, custodian, clock=process.clock)
        keys.begin()
        service = StorageService(bus, copy, place, keys=keys, registry=process.registry, clock=process.clock, pace=pace)
        async with pasts.connected(copy, process):
            await service.run(process.stopping, process.ready)
        process.finished = copy.node.removed
    finally:
        copy.close()
