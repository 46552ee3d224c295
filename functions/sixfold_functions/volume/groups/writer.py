"""The writer of a volume that is spread over groups: `async with GroupedWriter(bus, plan, …) as writer: …`, as `VolumeWriter`.

It gives dense volume LSNs, sends each batch's parts to their groups, and acknowledges an append once all that is at or
below it is durable in every group (VDL). Each group has a writer of its own (`group.py`), fenced and recovered together
(`takeover.py`). The cores are `core/parts.py`, `core/spread.py`, `core/reunion.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_functions.volume import announcer, appending, errors, topics
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core import pages, parts
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.core.recovery import State
from sixfold_functions.volume.core.reunion import Reunion
from sixfold_functions.volume.core.spread import Spread
from sixfold_functions.volume.groups import succession, takeover
from sixfold_functions.volume.groups.group import GroupWriter
from sixfold_functions.volume.readpoints import ReadPointLostError
from sixfold_functions.volume.settings import TICK_S, AppendResult, WriterSettings


class GroupedWriter(appending.Appender):
    """The one writer of the volume with `plan`. Use as an async context manager; entering takes the volume over."""

    def __init__(
        self,
        bus: port.Bus,
        plan: Plan,
        *,
        registry: Registry,
        name: str,
        clock: clocks.Clock | None = None,
        rng: random.Random | None = None,
        settings: WriterSettings | None = None,
    ) -> None:
        super().__init__(volume=plan.volume, name=name, clock=clock, settings=settings)
        self.bus = bus
        self.plan = plan
        self.registry = registry
        self.spread = Spread()
        rng = rng or random.SystemRandom()
        tag = rng.getrandbits(epochs.TAG_BITS)
        self.groups = [
            GroupWriter(
                bus,
                plan,
                number,
                self,
                registry=registry,
                name=name,
                clock=self.clock,
                rng=rng,
                tag=tag,
                settings=self.settings,
            )
            for number in plan.numbers
        ]
        self.announcer = announcer.Announcer(
            bus,
            volume=self.volume,
            topic=self.topics.durable,
            source=f"/volumes/{self.volume}/writer",
            clock=self.clock,
            state=self._announceable,
            told=lambda: False,
        )
        self.read_points = GroupedReadPoints(self)
        self._taken = asyncio.Event()
        self._has_plan = False
        self._ends: dict[int, int] = {}
        self._append_offset = 0
        self._durable_at_ms = 0
        self._sent_at = 0.0

    @property
    def epoch(self) -> int:
        """This writer's epoch, the same in all groups."""
        return self.groups[0].epoch

    # -- beginning and ending --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to take the volume over; `established` waits for it."""
        await self.bus.create_topics(topics.spread_specs(self.volume))
        for group in self.groups:
            await group.start()
        self.start_task(asyncio.create_task(self._run(), name="volume-groups"))
        self.start_task(asyncio.create_task(self._tick(), name="volume-groups-tick"))

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_S)
            if self.clock.monotonic() - self._sent_at >= TICK_S:
                self._send_waiting(gather=False)  # the batch before takes long
            self.changed.set()

    async def _run(self) -> None:
        reunion = await takeover.take_over(self.groups, self.plan, self._begin)
        self._taken.set()
        if reunion.durable_lsn < 0:
            self._send({number: parts.first_part(self.plan) for number in self.plan.numbers}, 0, complete=True)
        self._pump()
        self.changed.set()
        while not self._has_plan:
            await self.wait_change()
        self.answered_offset = await succession.succeed(self, reunion)
        self.succeeded.set()
        await self.announcer.run()

    def _begin(self, reunion: Reunion) -> None:
        self._ends = {number: cut.lsn for number, cut in reunion.cuts.items()}
        self._append_offset = reunion.append_offset
        self._has_plan = reunion.durable_lsn >= 0
        self.spread.begin(max(reunion.durable_lsn, 0), self._ends)
        clock_ms = max(group.recovery.clock_ms() for group in self.groups)
        self.sequencer.begin(self.epoch, max(reunion.durable_lsn, 0), 0, clock_ms)

    async def hold_group(self, group: GroupWriter) -> None:
        """Return once the volume is taken over."""
        await self._taken.wait()
        group.succeeded.set()

    def _is_established(self) -> bool:
        return self._taken.is_set() and self._has_plan

    async def close(self) -> None:
        """Announce what is durable, then stop. Appends that still wait fail with an unknown outcome."""
        if self.succeeded.is_set():
            with contextlib.suppress(TimeoutError):  # the bus is away; a successor announces
                async with asyncio.timeout(2.0):
                    await self.announcer.flush()
        await self._end_tasks()
        self.fail(errors.VolumeError("the writer was closed; whether its last appends are durable is not known"))
        await asyncio.gather(*(group.close() for group in self.groups))

    def _quorum_lost(self, what: str, *, since: float, outcome: str) -> errors.QuorumLostError:
        lagging = self.spread.lagging()
        group = self.groups[lagging[0] - 1] if lagging else min(self.groups, key=_progress)
        return group._quorum_lost(what, since=since, outcome=outcome)

    # -- appending -------------------------------------------------------------------------------------------------

    def refusal(self, records: Sequence[bytes]) -> str:
        """Why an append of `records` cannot be taken; empty if it can."""
        if self.plan.page_bytes:
            try:
                for record in records:
                    self.plan.groups_of(0, record)
            except pages.PageError:
                return f"volume {self.volume} is one of pages and takes page records only: use GroupedPageVolume"
        return super().refusal(records)

    def pump(self) -> None:
        """A group has room."""
        self._pump()

    def _pump(self) -> None:
        self._pumping = False
        self._send_waiting(gather=True)

    def _send_waiting(self, *, gather: bool) -> None:
        """With `gather` a batch that is not full stays until the one before it is durable."""
        if not self._is_established() or self.failure is not None:
            return
        while all(group.has_room() for group in self.groups) and not (gather and self.sequencer.gathers()):
            batch = self.sequencer.next_batch(clocks.now_ms(self.clock))
            if batch is None:
                break
            offsets = [request.offset + 1 for request, _, _ in batch.requests]
            self._append_offset = max([self._append_offset, *offsets])
            split = parts.split(self.plan, batch, self._append_offset)
            ends = batch.consistency_points
            self._send(split, batch.last_lsn, complete=bool(ends) and ends[-1] == batch.last_lsn)
        self._tell_room()

    def _send(self, split: dict[int, list[bytes]], last_lsn: int, *, complete: bool) -> None:
        for number, records in split.items():
            self._ends[number] += len(records)
        self._sent_at = self.clock.monotonic()
        self.spread.sent(last_lsn, {number: self._ends[number] for number in split}, complete=complete)
        for number, records in split.items():
            self.groups[number - 1].take(records, self._ends[number])

    # -- what the groups say ---------------------------------------------------------------------------------------

    def on_group(self, group: GroupWriter) -> None:
        """More may be durable in `group`."""
        if not self.spread.on_durable(group.number, group.tracker.durable_lsn):
            self.changed.set()
            return
        self._has_plan = True
        self._durable_at_ms = clocks.now_ms(self.clock)
        for each in self.groups:
            if self.spread.told[each.number] > each.durable_lsn:
                each.durable(self.spread.told[each.number])
        for append in self.sequencer.on_durable(self.spread.durable_lsn):
            if append.waiter is not None and not append.waiter.done():
                append.waiter.set_result(AppendResult(append.first_lsn, append.last_lsn))
            if append.request is not None:
                self.announcer.add([announcer.Result(append.request.request_id, append.first_lsn, append.last_lsn)])
        self._pump_soon()
        self.announcer.advanced()
        self.changed.set()

    def _announceable(self) -> tuple[int, int, int, int]:
        offsets = (each.request.offset for each in self.sequencer.unfinished() if each.request is not None)
        return self.epoch, self.durable_lsn, next(offsets, self.answered_offset), self._durable_at_ms


def _progress(group: GroupWriter) -> tuple[int, bool]:
    """How far a group's recovery has come: where it came least far something is missing."""
    return list(State).index(group.recovery.state), group.tracker.established()


class GroupedReadPoints:
    """Who reads at which volume LSN, in the writer's own process; replicas say it to the groups they follow."""

    def __init__(self, writer: GroupedWriter) -> None:
        self._writer = writer

    def at(self, lsn: int) -> dict[int, int]:
        """Each group's LSN when `lsn` was the volume's durable one. Raises ReadPointLostError."""
        spread, places = self._writer.spread, {}
        for number in self._writer.plan.numbers:
            place = spread.at(number, lsn)
            if place is None:
                raise ReadPointLostError(self._writer.volume, "the writer", lsn, spread.first_point)
            places[number] = place
        return places

    @contextlib.contextmanager
    def reading(self, lsn: int) -> Iterator[int]:
        """Keep the state at `lsn` readable while the block runs. Raises ReadPointLostError where it is not kept."""
        with contextlib.ExitStack() as stack:
            for number, place in self.at(lsn).items():
                stack.enter_context(self._writer.groups[number - 1].read_points.reading(place))
            yield lsn
