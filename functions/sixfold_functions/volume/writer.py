"""The volume's writer, usable in any process: `async with VolumeWriter(bus, …) as writer: await writer.append(…)`.

It takes the volume over by recovery, gives LSNs, sends each batch to all copies in one publish call, and runs the
quorum tracker's core on the copies' acknowledgements itself: two hops from an append to its acknowledgement.
It is the shell around the cores; `takeover.py` drives recovery, `requests.py` serves appends through the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume import (
    announcer,
    appending,
    errors,
    members,
    reader,
    readpoints,
    redo,
    repairer,
    sender,
    takeover,
    ticking,
    topics,
)
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core import layout, recovery
from sixfold_functions.volume.core.tracker import QuorumTracker
from sixfold_functions.volume.settings import AppendResult, WriterSettings


class VolumeWriter(appending.Appender):
    """The one writer of a volume. Use as an async context manager; entering takes the volume over."""

    is_group = False
    """Whether it writes one group of a volume that is spread over several."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        registry: Registry,
        name: str,
        volume: str = layout.DEFAULT_VOLUME,
        clock: clocks.Clock | None = None,
        rng: random.Random | None = None,
        settings: WriterSettings | None = None,
    ) -> None:
        super().__init__(volume=volume, name=name, clock=clock, settings=settings)
        self.bus = bus
        self.registry = registry
        self.rng = rng or random.SystemRandom()
        self.tracker = QuorumTracker()
        self.recovery = recovery.Recovery(self.rng.getrandbits(epochs.TAG_BITS), grace_s=self.settings.grace_s)
        self.source = f"/volumes/{volume}/writer"
        self._heard: dict[str, float] = {}
        self.sender = sender.Sender(bus, self.topics.redo, volume.encode(), clock=self.clock)
        self.sender.on_room, self.sender.on_fatal = self._pump, self.fail
        self.outlet = redo.RedoOutlet(
            self.sender, self.recovery, self.sequencer, volume=volume, source=self.source, clock=self.clock
        )
        self.read_points = readpoints.ReadPointKeeper(bus, registry=registry, clock=self.clock, volume=volume)
        self.outlet.low_water, self.outlet.held = self.read_points.low_water, self.read_points.held
        self.reader = reader.CopyReader(bus, registry=registry, clock=self.clock, volume=volume)
        self.announcer = announcer.Announcer(
            bus,
            volume=volume,
            topic=self.topics.durable,
            source=self.source,
            clock=self.clock,
            state=self._announceable,
            told=lambda: self.outlet.told_lsn >= self.sequencer.durable_lsn,
        )
        self.repairer = repairer.Repairer(
            self.reader,
            self.tracker,
            registry=registry,
            clock=self.clock,
            outlet=self.outlet,
            limits=self.settings.limits,
        )
        self.members = members.Members(self)

    @property
    def epoch(self) -> int:
        """This writer's epoch."""
        return self.recovery.epoch

    async def start(self) -> None:
        """Begin to take the volume over; `established` waits for it."""
        if not self.is_group and layout.group_of(self.volume) is not None:
            raise errors.GroupError(self.volume)
        await self.bus.create_topics(topics.specs(self.volume))
        await self.reader.__aenter__()
        await self.members.load()
        acks = port.TopicPartition(self.topics.acks, 0)
        consumer = self.bus.assign([acks], start=port.LATEST)
        end = (await self.bus.offsets(acks)).end
        await consumer.__aenter__()
        await consumer.seek(acks, end)
        self._tasks = [
            asyncio.create_task(self._listen(consumer), name="volume-acks"),
            asyncio.create_task(ticking.tick(self, self.sender), name="volume-tick"),
            asyncio.create_task(self._hold(), name="volume-takeover"),
            asyncio.create_task(self.members.run(), name="volume-members"),
            asyncio.create_task(self.read_points.run(), name="volume-read-points"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_done)

    async def _hold(self) -> None:
        await takeover.hold(self)

    async def close(self) -> None:
        """Announce what is durable, then stop. Appends that still wait fail with an unknown outcome."""
        if self.succeeded.is_set() and self.recovery.state is recovery.State.ESTABLISHED:
            with contextlib.suppress(TimeoutError):  # the bus is away; a successor announces
                async with asyncio.timeout(2.0):
                    await self.announcer.flush()
        await self._end_tasks()
        await self.repairer.close()
        await self.sender.close()
        await self.reader.__aexit__(None, None, None)
        self.fail(errors.VolumeError("the writer was closed; whether its last appends are durable is not known"))

    def _is_established(self) -> bool:
        return self.recovery.state is recovery.State.ESTABLISHED

    def _quorum_lost(self, what: str, *, since: float, outcome: str) -> errors.QuorumLostError:
        return errors.QuorumLostError(
            what,
            [copy for copy, heard in self._heard.items() if heard >= since and copy in self.tracker.copies],
            volume=self.volume,
            membership=self.recovery.membership,
            joining=self.tracker.joining(),
            outcome=outcome,
            cause=self.sender.last_error,
        )

    def _pump(self) -> None:
        self._pumping = False
        self.pump(gather=True)

    def pump(self, *, gather: bool = False) -> None:
        """Send what waits; with `gather` a batch that is not full stays until the one before it is durable."""
        if self.recovery.state is not recovery.State.ESTABLISHED or self.failure is not None:
            return
        while self.sender.has_room() and not (gather and self.sequencer.gathers()):
            batch = self.sequencer.next_batch(clocks.now_ms(self.clock))
            if batch is None:
                break
            self.outlet.send(self.outlet.batch(batch))
        self._tell_room()

    # -- what the copies say ---------------------------------------------------------------------------------------

    async def _listen(self, consumer: port.Consumer) -> None:
        try:
            async for records in topics.follow(consumer, self.clock):
                for record in records:
                    event = topics.decoded(self.registry, record)
                    if isinstance(event, VolumeCopyAcknowledged) and event.volume == self.volume:
                        self.on_ack(event)
        finally:
            await consumer.__aexit__(None, None, None)

    def on_ack(self, ack: VolumeCopyAcknowledged) -> None:
        """Take a copy's word."""
        self._heard[ack.copy] = now = self.clock.monotonic()
        advanced = self.tracker.on_ack(ack)
        self.recovery.on_ack(ack, now)
        state = self.recovery.state
        if state is recovery.State.SUPERSEDED:
            self.fail(errors.StaleWriterError(self.volume, self.name, self.epoch, ack))
            return
        if ack.copy not in self.tracker.copies:
            self.members.on_other(ack)
        elif state in (recovery.State.FILLING, recovery.State.ESTABLISHED):
            self.repairer.on_ack(self.tracker.copies[ack.copy])
        if advanced and state is recovery.State.ESTABLISHED:
            self.advance()
        self.changed.set()

    def advance(self) -> None:
        """The durable LSN rose."""
        self.durable(self.tracker.durable_lsn)

    def durable(self, lsn: int) -> None:
        """All up to `lsn` is durable: free who waited for it, send who waited for room."""
        self.outlet.durable_at_ms = clocks.now_ms(self.clock)
        for append in self.sequencer.on_durable(lsn):
            if append.waiter is not None and not append.waiter.done():
                append.waiter.set_result(AppendResult(append.first_lsn, append.last_lsn))
            if append.request is not None:
                self.announcer.add([announcer.Result(append.request.request_id, append.first_lsn, append.last_lsn)])
        self._pump_soon()
        self.announcer.advanced()

    def _announceable(self) -> tuple[int, int, int, int]:
        offsets = (each.request.offset for each in self.sequencer.unfinished() if each.request is not None)
        offset = next(offsets, self.answered_offset)
        return self.recovery.epoch, self.sequencer.durable_lsn, offset, self.outlet.durable_at_ms
