"""Getting all pages of a volume as they are at one LSN, part by part, and a copy that begins with them.

`core/joining.py` says when a copy must. A part that is lost, or not what it should be, is asked for again, of the
next copy: any that still has that state gives the same. While it takes, the copy says where it reads, so that the
low-water mark stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

import structlog

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadPointHeld, VolumeSnapshotAnswered
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import errors, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import gossip, joining, layout
from sixfold_functions.volume.pages import snapshot

LOOK_S = 0.5
PATIENCE_S = 1.0
"""So long nothing comes of what a copy lacks before it asks how the others are; what a writer fills moves sooner."""
RETRY_S, RETRY_S_MAX = 2.0, 60.0
"""After nobody could help; doubled each time."""
ROUNDS = 5
"""Each copy is asked so often for a part before all is given up."""
HOLD_S = 1.0


class SnapshotLostError(errors.VolumeError):
    """No copy gives the next part; the message has what each said last."""


async def fetch(
    reader: readers.CopyReader,
    sources: Sequence[str],
    take: Callable[[VolumeSnapshotAnswered], None],
    *,
    lsn: int = 0,
    timeout_s: float = 5.0,
) -> None:
    """Give all parts to `take` in order: of the pages at `lsn`, 0 for the newest that the first of `sources` has.

    `take` raises SnapshotDamagedError for a part that it does not take. Raises SnapshotLostError.
    """
    first_page, order = 0, list(sources)
    while first_page >= 0:
        said: dict[str, str] = {}
        for _ in range(ROUNDS * len(order)):
            copy = order[0]
            try:
                part = await reader.ask_snapshot(copy, lsn=lsn, first_page=first_page, timeout_s=timeout_s)
                take(part)
                break
            except (readers.CopyUnreachableError, readers.CopyDamagedError, snapshot.SnapshotDamagedError) as error:
                said[copy] = str(error)
                order.append(order.pop(0))
        else:
            raise SnapshotLostError(
                f"the pages of a volume cannot be had from {first_page} on: {'; '.join(said.values())}"
            )
        lsn, first_page = part.lsn, part.next_page


class Snapshots:
    """Of one copy: lets it begin with another one's pages where it must. `run` is a task."""

    def __init__(
        self,
        copy: copies.Copy,
        bus: port.Bus,
        *,
        registry: Registry,
        clock: clocks.Clock,
        acknowledge: Callable[[VolumeCopyAcknowledged], None],
        rng: random.Random | None = None,
    ) -> None:
        self._copy = copy
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._acknowledge = acknowledge
        self._rng = rng or random.SystemRandom()
        self._log = structlog.get_logger().bind(volume=copy.node.volume, copy=copy.node.copy)
        self._holding = 0
        """The LSN at which it reads, or from which on it needs records; 0 for none."""

    async def run(self) -> None:
        """Look for ever. Raises the copy's errors, which end it."""
        holding = asyncio.create_task(self._hold(), name="volume-snapshot-read-point")
        try:
            await self._run()
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    async def _run(self) -> None:
        before, failed, looked = self._own(), 0, False
        at_once = self._copy.node.joining or self._copy.pages.lacking
        due_at = self._clock.monotonic() + (0.0 if at_once else PATIENCE_S)
        while True:
            await self._clock.sleep(LOOK_S)
            mine, now = self._own(), self._clock.monotonic()
            if mine.progress() != before.progress():
                failed, due_at = 0, now + PATIENCE_S
            lacks = mine.lacks or self._copy.node.joining or self._copy.pages.lacking
            if self._holding and not lacks:
                self._holding = 0
            elif self._holding:
                self._holding = max(self._holding, mine.reached_lsn)
            before = mine
            if now >= due_at and (lacks or not looked):  # one that has just started may be behind and not know it
                looked = True
                with contextlib.suppress(port.BusError):
                    await self._look()
                wait_s = min(RETRY_S * 2**failed, RETRY_S_MAX) * (1 + self._rng.random())
                failed, due_at = min(failed + 1, 16), self._clock.monotonic() + wait_s

    def _own(self) -> gossip.Own:
        return gossip.own(self._copy.node, self._copy.position)

    async def _look(self) -> None:
        """Ask the others how they are, and begin with their pages if that is the only way."""
        node = self._copy.node
        async with readers.CopyReader(
            self._bus, registry=self._registry, clock=self._clock, volume=node.volume
        ) as reader:
            reader.use(node.membership)
            answers = await reader.ask_all([name for name in node.membership.members if name != node.copy])
            pages_from_lsn = self._copy.floor_lsn if self._copy.pages.lacking else 0
            able = joining.sources(self._own(), answers.values(), pages_from_lsn=pages_from_lsn)
            if able:
                await self._begin(reader, able)

    async def _begin(self, reader: readers.CopyReader, able: list[str]) -> None:
        receiving: snapshot.Receiving | None = None
        wanted_lsn = self._copy.floor_lsn if self._copy.pages.lacking else self._own().reached_lsn + 1

        def take(part: VolumeSnapshotAnswered) -> None:
            nonlocal receiving
            if part.lsn < wanted_lsn:
                raise snapshot.SnapshotDamagedError(f"copy {part.copy} has pages up to LSN {part.lsn} only")
            if receiving is None:
                receiving = snapshot.Receiving(self._copy.pages.place, part)
                self._holding = part.lsn
            receiving.take(part)

        self._log.info("the copy gets another one's pages", action="volume.copy.snapshot", copies=able)
        done = False
        try:
            await fetch(reader, able, take)
            assert receiving is not None
            done = self._begin_with(receiving)
        except SnapshotLostError as error:
            self._log.warning("pages cannot be had", action="volume.copy.snapshot_lost", error=str(error))
        finally:
            if not done and receiving is not None:
                receiving.give_up()

    def _begin_with(self, receiving: snapshot.Receiving) -> bool:
        events = joining.leading(receiving.word, self._own())
        if events is None:
            return False  # a recovery is under way; its writer says what belongs here
        layer = receiving.finish()
        ack = self._copy.begin_afresh(
            events,
            layer,
            receiving.end,
            page_bytes=receiving.page_bytes,
            clock_ms=receiving.word.status.clock_ms,
        )
        self._log.info(
            "the copy has another one's pages",
            action="volume.copy.snapshot_taken",
            lsn=receiving.end.last_lsn,
            log_began=ack is not None,
        )
        if ack is not None:
            self._acknowledge(ack)
        return True

    async def _hold(self) -> None:
        """Say once a second where it reads."""
        told = 0
        while True:
            await self._clock.sleep(HOLD_S)
            if self._holding or told:
                with contextlib.suppress(port.BusError):
                    await self._bus.publish([self._word(self._holding or told, released=not self._holding)])
                told = self._holding

    def _word(self, lsn: int, *, released: bool) -> port.NewRecord:
        node = self._copy.node
        event = VolumeReadPointHeld(
            volume=node.volume,
            reader=f"copy {node.copy}",
            zone="",
            copy=node.copy,
            lsn=lsn,
            applied_lsn=node.prefix.complete_lsn,
            durable_lsn=node.settled_lsn,
            lag_ms=-1.0,
            released=released,
        )
        source = f"/volumes/{node.volume}/copies/{node.copy}"
        record = publisher.record_of(event, source=source, clock=self._clock, partition=0)
        return topics.moved(record, layout.topics(node.volume).read_points)
