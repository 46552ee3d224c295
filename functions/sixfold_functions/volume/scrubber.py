"""Scrubbing a running copy: reads its log back in the background, and mends what is damaged from the other copies.

The position is kept in the folder's file `scrub` (not synced: it costs a reading, no more). What readers find damaged is
looked after at once, what could not be mended is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeScrubReported, VolumeScrubRequested
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import files, mending, scrubbing
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.mending import Damage, NotMendedError

Report = Callable[[VolumeScrubReported], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a copy reads its log back."""

    bytes_per_s_max: float = 4 * 1024 * 1024
    """In the background; 0 for never. About a hundredth of what a disk reads."""
    bytes_per_s_min: float = 64 * 1024
    period_s: float = 24 * 3600.0
    """A reading of the whole log takes less, as far as the highest rate allows."""
    look_s: float = 0.5
    """How often it looks whether a reader found something."""
    retry_s: float = 60.0
    """After it could not be mended."""
    report_s: float = 0.5
    """Between two words to whoever asked for a reading."""


def pace_of(mb_per_s: str | None) -> Pace:
    """The pace for `--scrub-mb-per-s`, or the variable in its place. Raises UsageError."""
    if mb_per_s is None:
        return Pace()
    try:
        rate = float(mb_per_s)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 10_000:
        raise errors.UsageError(
            f"--scrub-mb-per-s {mb_per_s}: expected how many megabytes a second the copy reads back at most, 0 for none"
        )
    return Pace(bytes_per_s_max=rate * 1_000_000)


class Scrubber:
    """Looks after the log of one copy."""

    def __init__(
        self,
        copy: copies.Copy,
        bus: port.Bus,
        *,
        registry: Registry,
        clock: clocks.Clock,
        report: Report,
        pace: Pace | None = None,
    ) -> None:
        self._copy = copy
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._report = report
        self._pace = pace or Pace()
        self._mender = copy.mender()
        self._log = structlog.get_logger().bind(volume=copy.node.volume, copy=copy.node.copy)
        self._requests: asyncio.Queue[VolumeScrubRequested] = asyncio.Queue()
        self._waiting: dict[tuple[int, int], Damage] = {}
        """Damage that is not mended yet, by segment and place."""
        self._wrong_rows: set[int] = set()
        self._retry_at = 0.0

    @property
    def damaged(self) -> int:
        """Places that are known to be damaged."""
        suspected = self._mender.log.suspects - {segment for segment, _ in self._waiting}
        found = len(self._waiting) + len(self._wrong_rows) + len(suspected)
        return found + self._mender.rows.suspect + self._copy.pages.lacking

    def request(self, request: VolumeScrubRequested) -> None:
        """Read the whole log now."""
        self._requests.put_nowait(request)

    async def run(self) -> None:
        """Look after the log for ever. Raises LogFailedError, which ends the copy."""
        self._mender.tidy()
        background = self._background()
        while True:
            try:
                wait_s = await anext(background) if self._pace.bytes_per_s_max else self._pace.look_s
                async with asyncio.timeout(min(wait_s, self._pace.look_s)):
                    request = await self._requests.get()
            except TimeoutError:
                pass
            else:
                await self._now(request)
            await self._look_after()

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _background(self) -> AsyncIterator[float]:
        """A step of the reading in the background each time; how long to wait before the next."""
        while True:
            position = scrubbing.kept_position(self._mender)
            now_ms = clocks.now_ms(self._clock)
            if position.begun_ms == 0:
                position = msgspec.structs.replace(position, begun_ms=now_ms)
            scrub = scrubbing.Scrub(self._mender, position)
            rate = max(scrub.total_bytes() * 1.1 / self._pace.period_s, self._pace.bytes_per_s_min)
            rate = min(rate, self._pace.bytes_per_s_max)
            due_at, segment = self._clock.monotonic(), position.segment
            for read in scrub.steps():
                self._note(scrub)
                if scrub.position.segment != segment:
                    segment = scrub.position.segment
                    scrubbing.keep_position(self._mender, scrub.position)
                due_at = max(due_at, self._clock.monotonic() - 1.0) + read / rate
                while (wait_s := due_at - self._clock.monotonic()) > 0:
                    yield wait_s
            self._note(scrub)
            next_at = position.begun_ms + int(self._pace.period_s * 1000)
            while clocks.now_ms(self._clock) < next_at:
                yield (next_at - clocks.now_ms(self._clock)) / 1000
            scrubbing.keep_position(self._mender, scrubbing.Position())

    async def _now(self, request: VolumeScrubRequested) -> None:
        """One reading as fast as it goes, with words to whoever asked for it."""
        scrub = scrubbing.Scrub(self._mender, scrubbing.Position())
        total, read, told_at = scrub.total_bytes(), 0, self._clock.monotonic()
        before = {*self._waiting}, set(self._wrong_rows)
        for step in scrub.steps():
            read += step
            await asyncio.sleep(0)  # the copy serves in between
            if self._clock.monotonic() - told_at >= self._pace.report_s:
                told_at = self._clock.monotonic()
                await self._tell(request, read, total, scrub)
        await self._tell(request, read, total, scrub)
        self._note(scrub)
        found = ({*self._waiting} | before[0], self._wrong_rows | before[1])
        error = await self._mend()
        mended = len(found[0] - {*self._waiting}) + len(found[1] - self._wrong_rows)
        damaged = len(found[0]) + len(found[1])
        report = VolumeScrubReported(
            volume=request.volume,
            copy=request.copy,
            request_id=request.request_id,
            done=True,
            read_bytes=total,
            total_bytes=total,
            damaged=damaged,
            mended=mended,
            error=error,
        )
        await self._report(report)

    async def _tell(self, request: VolumeScrubRequested, read: int, total: int, scrub: scrubbing.Scrub) -> None:
        found = len(scrub.damages) + len(scrub.wrong_rows)
        await self._report(
            VolumeScrubReported(
                volume=request.volume,
                copy=request.copy,
                request_id=request.request_id,
                done=False,
                read_bytes=min(read, total),
                total_bytes=total,
                damaged=found,
            )
        )

    def _note(self, scrub: scrubbing.Scrub) -> None:
        for damage in scrub.damages:
            place = damage.segment, damage.start
            if place not in self._waiting:
                self._log.error(
                    "the copy's log is damaged",
                    action="volume.copy.damaged",
                    file=str(self._mender.log.path(damage.segment)),
                    first_byte=damage.start,
                    last_byte=max(damage.end - 1, damage.start),
                )
                self._waiting[place] = damage
                self._retry_at = 0.0
        for number in scrub.wrong_rows:
            if number not in self._wrong_rows:
                self._log.error("the copy's index is damaged", action="volume.copy.damaged", row=number)
                self._wrong_rows.add(number)
                self._retry_at = 0.0
        scrub.damages.clear()
        scrub.wrong_rows.clear()

    # -- mending ---------------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """What readers found, and what could not be mended before."""
        log, rows = self._mender.log, self._mender.rows
        for segment in sorted(log.suspects):
            await self._read_segment(segment)
            log.suspects.discard(segment)
        if rows.suspect:
            scrub = scrubbing.Scrub(self._mender, scrubbing.Position(segment=log.newest))
            for _ in scrub.rows(log.newest, last=True):
                await asyncio.sleep(0)
            self._note(scrub)
            rows.suspect = False
        if (self._waiting or self._wrong_rows) and self._clock.monotonic() >= self._retry_at:
            await self._mend()

    async def _read_segment(self, segment: int) -> None:
        for place in [place for place in self._waiting if place[0] == segment]:
            del self._waiting[place]
        scrub = scrubbing.Scrub(self._mender, scrubbing.Position(segment=segment))
        for _ in scrub.segment(segment):
            await asyncio.sleep(0)
        self._note(scrub)

    async def _mend(self) -> str:
        """Mend what waits for it; why something is left, empty if nothing is."""
        problem = ""
        first = self._mender.log.first  # what was let go meanwhile needs no mending
        self._waiting = {place: damage for place, damage in self._waiting.items() if place[0] >= first}
        self._wrong_rows = {number for number in self._wrong_rows if number >= self._mender.rows.base}
        try:
            if self._waiting:
                problem = await self._mend_segments()
            wrong = sorted(self._wrong_rows)
            try:
                for _ in scrubbing.repaired_rows(self._mender, wrong):
                    await asyncio.sleep(0)
            finally:
                self._wrong_rows &= set(wrong)
        except (files.LogDamagedError, port.BusError) as error:
            problem = str(error)
        if problem:
            self._retry_at = self._clock.monotonic() + self._pace.retry_s
            self._log.warning("damage is not mended yet", action="volume.copy.unmended", error=problem)
        return problem

    async def _mend_segments(self) -> str:
        log, problem = self._mender.log, ""
        if any(segment == log.newest for segment, _ in self._waiting):
            full = log.newest
            log.roll()  # what is known stands in the beginning of the next one
            await self._read_segment(full)
        volume, own, members = self._copy.node.volume, self._copy.node.copy, self._copy.node.membership
        async with readers.CopyReader(self._bus, registry=self._registry, clock=self._clock, volume=volume) as reader:
            reader.use(members)
            peers = list(await reader.ask_all([copy for copy in members.members if copy != own]))
            for place, damage in sorted(self._waiting.items()):
                try:
                    await self._mend_one(reader, peers, damage)
                except (NotMendedError, files.LogDamagedError) as error:
                    problem = str(error)
                    continue
                await self._read_segment(place[0])
        return problem

    async def _mend_one(self, reader: readers.CopyReader, peers: list[str], damage: Damage) -> None:
        wanted = []
        for step in self._mender.wanted(damage):
            wanted += step
            await asyncio.sleep(0)
        batches = {each.place: await self._fetched(reader, peers, each) for each in wanted}
        for _ in self._mender.write(damage, self._mender.replacement(damage, batches)):
            await asyncio.sleep(0)
        self._log.info(
            "the copy's log is mended",
            action="volume.copy.mended",
            file=str(self._mender.log.path(damage.segment)),
            first_byte=damage.start,
            batches=len(batches),
        )

    async def _fetched(self, reader: readers.CopyReader, peers: list[str], wanted: mending.Wanted) -> bytes:
        """The stored batch of a peer that has the same. Raises NotMendedError where none has."""
        for peer in list(peers):
            count = wanted.last_lsn - wanted.first_lsn + 1
            try:
                answer = await reader.ask(peer, from_lsn=wanted.first_lsn, count=count, whole_batches=True)
                batches = self._copy.batches(answer)
            except readers.CopyUnreachableError:
                peers.remove(peer)
                continue
            except (readers.CopyDamagedError, port.BusError, avro.DecodeError):
                continue
            for value, batch in zip(answer.batches, batches, strict=True):
                if self._mender.agrees(wanted, answer, batch):
                    return value
        raise NotMendedError(
            f"copy {self._copy.node.copy} of volume {self._copy.node.volume}: no other copy that answers has the records "
            f"{wanted.first_lsn} to {wanted.last_lsn}, which are damaged here; start the others: sixfold volume start all"
        )
