"""The volume's writer, usable in any process: `async with VolumeWriter(bus, …) as writer: await writer.append(…)`.

It takes the volume over by recovery, gives LSNs, sends each batch to all copies in one publish call, and runs the
quorum tracker's core on the copies' acknowledgements itself: two hops from an append to its acknowledgement.
It is the shell around the cores; `takeover.py` drives recovery, `requests.py` serves appends through the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume import (
    announcer,
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
from sixfold_functions.volume import deadline as deadlines
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core import layout, recovery, sequencer
from sixfold_functions.volume.core.tracker import QuorumTracker
from sixfold_functions.volume.settings import AppendResult, WriterSettings

Waiter = asyncio.Future[AppendResult] | None


class VolumeWriter:
    """The one writer of a volume. Use as an async context manager; entering takes the volume over."""

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
        self.volume = volume
        self.name = name  # who this is, for people
        self.bus = bus
        self.registry = registry
        self.clock = clock or clocks.SystemClock()
        self.rng = rng or random.SystemRandom()
        self.settings = settings or WriterSettings()
        self.topics = layout.topics(volume)
        self.tracker = QuorumTracker()
        self.recovery = recovery.Recovery(self.rng.getrandbits(epochs.TAG_BITS), grace_s=self.settings.grace_s)
        self.sequencer: sequencer.Sequencer[Waiter] = sequencer.Sequencer(self.settings.limits)
        self.changed = asyncio.Event()
        """Set at each acknowledgement and each tick."""
        self.failure: Exception | None = None
        self.answered_offset = 0  # next offset of `volume.append` to take; every request below has been taken
        self.succeeded = asyncio.Event()
        """Set once this writer also knows which append requests its predecessors took."""
        self.source = f"/volumes/{volume}/writer"
        self._heard: dict[str, float] = {}
        self._pumping = False
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.sender = sender.Sender(bus, self.topics.redo, volume.encode(), clock=self.clock)
        self.sender.on_room, self.sender.on_fatal = self._pump, self.fail
        self.outlet = redo.RedoOutlet(
            self.sender, self.recovery, self.sequencer, volume=volume, source=self.source, clock=self.clock
        )
        self.read_points = readpoints.ReadPointKeeper(bus, registry=registry, clock=self.clock, volume=volume)
        self.outlet.low_water = self.read_points.low_water
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

    @property
    def durable_lsn(self) -> int:
        """VDL."""
        return self.sequencer.durable_lsn

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            async with asyncio.timeout(self.settings.takeover_timeout_s):
                await self.established()
        except TimeoutError:
            await self.close()
            what = f"no writer could take over within {self.settings.takeover_timeout_s:g} s"
            raise self._quorum_lost(what, since=0.0, outcome="Nothing was changed.") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to take the volume over; `established` waits for it."""
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
            asyncio.create_task(takeover.hold(self), name="volume-takeover"),
            asyncio.create_task(self.members.run(), name="volume-members"),
            asyncio.create_task(self.read_points.run(), name="volume-read-points"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._task_done)

    async def established(self) -> None:
        """Return once this writer has the volume. Raises what made it fail."""
        while self.recovery.state is not recovery.State.ESTABLISHED:
            self._check_failure()
            await self.wait_change()
        self._check_failure()

    async def wait_change(self) -> None:
        """Return at the next acknowledgement or tick."""
        self.changed.clear()
        await self.changed.wait()

    async def close(self) -> None:
        """Announce what is durable, then stop. Appends that still wait fail with an unknown outcome."""
        if self.succeeded.is_set() and self.recovery.state is recovery.State.ESTABLISHED:
            with contextlib.suppress(TimeoutError):  # the bus is away; a successor announces
                async with asyncio.timeout(2.0):
                    await self.announcer.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.repairer.close()
        await self.sender.close()
        await self.reader.__aexit__(None, None, None)
        self.fail(errors.VolumeError("the writer was closed; whether its last appends are durable is not known"))

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error if isinstance(error, Exception) else errors.VolumeError(repr(error)))

    def start_task(self, task: asyncio.Task[None]) -> None:
        """Let `task` end with this writer, and the writer fail with it."""
        self._tasks.append(task)
        task.add_done_callback(self._task_done)

    def fail(self, error: Exception) -> None:
        """Nothing can be appended any more; whoever waits learns why."""
        if self.failure is None:
            self.failure = error
        for append in self.sequencer.unfinished():
            if append.waiter is not None and not append.waiter.done():
                append.waiter.set_exception(self.failure)
        self.changed.set()
        self._room.set()

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    # -- appending -------------------------------------------------------------------------------------------------

    async def append(self, records: Sequence[bytes], *, timeout_s: float | None = None) -> AppendResult:
        """Append `records` as one unit; returns once they are durable, that is fsynced by four copies.

        Raises VolumeLimitError (nothing was written), QuorumLostError or StaleWriterError (not acknowledged; the
        message says whether it may become durable later).
        """
        if refusal := self.settings.limits.refusal(records):
            raise errors.VolumeLimitError(refusal)
        self._check_failure()
        waiter: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        append = sequencer.Append[Waiter](records, waiter)
        timeout_s = self.settings.append_timeout_s if timeout_s is None else timeout_s
        offered_at = self.clock.monotonic()
        try:
            if self._is_full():
                async with asyncio.timeout(timeout_s):
                    await self.room()
            self.offer(append)
            return await deadlines.within(waiter, timeout_s - (self.clock.monotonic() - offered_at))
        except TimeoutError:
            withdrawn = append not in self.sequencer.unfinished() or self.sequencer.withdraw(append)
            outcome = (
                "Nothing of it was written."
                if withdrawn
                else f"It is not acknowledged, yet LSNs {append.first_lsn} to {append.last_lsn} may still become durable."
            )
            what = f"an append is not durable after {timeout_s:g} s"
            raise self._quorum_lost(what, since=offered_at, outcome=outcome) from None

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

    async def room(self) -> None:
        """Return once the queue has room."""
        while self._is_full():
            self._check_failure()
            self._room.clear()
            await self._room.wait()

    def _is_full(self) -> bool:
        count, size = self.sequencer.waiting()
        return count >= self.settings.waiting_max or size >= self.settings.waiting_bytes_max

    def offer(self, append: sequencer.Append[Waiter]) -> None:
        """Queue an append; whatever waits goes out with the next batch."""
        self._check_failure()
        self.sequencer.offer(append)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self.recovery.state is not recovery.State.ESTABLISHED or self.failure is not None:
            return
        while self.sender.has_room() and (batch := self.sequencer.next_batch(clocks.now_ms(self.clock))):
            self.outlet.send(self.outlet.batch(batch))
        if not self._room.is_set() and not self._is_full():
            self._room.set()

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
        """The durable LSN rose: free who waited for it, send who waited for room."""
        self.outlet.durable_at_ms = clocks.now_ms(self.clock)
        for append in self.sequencer.on_durable(self.tracker.durable_lsn):
            if append.waiter is not None and not append.waiter.done():
                append.waiter.set_result(AppendResult(append.first_lsn, append.last_lsn))
            if append.request is not None:
                self.announcer.add([announcer.Result(append.request.request_id, append.first_lsn, append.last_lsn)])
        self._pump()
        self.announcer.advanced()

    def _announceable(self) -> tuple[int, int, int, int]:
        offsets = (each.request.offset for each in self.sequencer.unfinished() if each.request is not None)
        offset = next(offsets, self.answered_offset)
        return self.recovery.epoch, self.sequencer.durable_lsn, offset, self.outlet.durable_at_ms
