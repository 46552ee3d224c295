"""The volume's published face: what other capabilities and programs import.

`VolumeClient` appends through the volume's writer and reads from the copies. A process that is the writer itself (the
SQL engine) uses `VolumeWriter`, which is two hops faster, and `PageVolume` on it where it keeps pages.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from sixfold import clock as clocks
from sixfold import errors as usage
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import (
    VolumeAppendRequested,
    VolumeDurableAdvanced,
    VolumeMembersAnnounced,
    VolumeReadAnswered,
    VolumeReplaceRequested,
)
from sixfold_functions.volume import errors, lastwords, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import roster as rosters
from sixfold_functions.volume import status as states
from sixfold_functions.volume.beginning import Begun, begin_with_pages
from sixfold_functions.volume.core import layout, sequencer
from sixfold_functions.volume.core.membership import Membership, of_event
from sixfold_functions.volume.core.replica import ConsistencyPoint
from sixfold_functions.volume.errors import QuorumLostError, RequestRefusedError, StaleWriterError, VolumeLimitError
from sixfold_functions.volume.filling import ReplicaOvertakenError
from sixfold_functions.volume.pages.volume import PagesUnreadableError, PageVolume, PageVolumeError
from sixfold_functions.volume.readpoints import ReadPointLostError
from sixfold_functions.volume.replica import ReplicaBehindError, ReplicaDivergedError, ReplicaLag, VolumeReplica
from sixfold_functions.volume.settings import AppendResult, WriterSettings
from sixfold_functions.volume.writer import VolumeWriter

__all__ = [
    "AppendResult",
    "Begun",
    "ConsistencyPoint",
    "PageVolume",
    "PageVolumeError",
    "PagesUnreadableError",
    "QuorumLostError",
    "ReadPointLostError",
    "ReadResult",
    "ReplicaBehindError",
    "ReplicaDivergedError",
    "ReplicaLag",
    "ReplicaOvertakenError",
    "RequestRefusedError",
    "StaleWriterError",
    "VolumeClient",
    "VolumeLimitError",
    "VolumeReplica",
    "VolumeWriter",
    "WriterSettings",
    "begin_with_pages",
]

REQUEST_BYTES_MAX = 800_000
"""Payload of one append request, so that its event stays below a topic's record limit."""


class ReadResult(NamedTuple):
    """Records of a volume, all of them durable."""

    copy: str
    """The copy that they come from; empty where there was nothing to read."""
    first_lsn: int
    payloads: list[bytes]


class VolumeClient:
    """Appends to and reads from one volume. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        *,
        registry: Registry,
        volume: str = layout.DEFAULT_VOLUME,
        clock: clocks.Clock | None = None,
    ) -> None:
        self.volume = volume
        self._bus = bus
        self._registry = registry
        self._clock = clock or clocks.SystemClock()
        self._topics = layout.topics(volume)
        self._durable = port.TopicPartition(self._topics.durable, 0)
        self._reader = readers.CopyReader(bus, registry=registry, clock=self._clock, volume=volume)
        self._asked: dict[str, asyncio.Future[AppendResult]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._announced: VolumeDurableAdvanced | None = None
        self._roster = rosters.Roster(registry, volume)
        self._changes: dict[str, asyncio.Future[Membership]] = {}

    @property
    def membership(self) -> Membership:
        """The volume's copies, as its writers announced them last."""
        return self._roster.membership

    @property
    def announced(self) -> VolumeDurableAdvanced | None:
        """What the writer announced last."""
        return self._announced

    @property
    def reader(self) -> readers.CopyReader:
        """Asks single copies."""
        return self._reader

    async def __aenter__(self) -> Self:
        await self._bus.create_topics(topics.specs(self.volume))
        await self._reader.__aenter__()
        await self._begin_listening()
        if self._roster.plan is not None:
            await self._end_listening()
            await self._reader.__aexit__(None, None, None)
            raise errors.SpreadError(self.volume, self._roster.plan.groups)
        return self

    async def _begin_listening(self) -> None:
        for record in await topics.last_records(self._bus, self._topics.durable, 1):
            self._hear(record)
        members = rosters.partition(self.volume)
        self._roster, told = await rosters.load(self._bus, self._registry, self.volume)
        self._reader.use(self.membership)
        end = (await self._bus.offsets(self._durable)).end
        consumer = self._bus.assign([self._durable, members], start=port.LATEST)
        await consumer.__aenter__()
        await consumer.seek(self._durable, end)
        await consumer.seek(members, told)
        self._listener = asyncio.create_task(self._listen(consumer), name="volume-durable")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_listening()
        await self._reader.__aexit__(None, None, None)

    async def _end_listening(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def _listen(self, consumer: port.Consumer) -> None:
        try:
            async for records in topics.follow(consumer, self._clock):
                for record in records:
                    self._hear(record)
        finally:
            await consumer.__aexit__(None, None, None)

    def _hear_of_members(self, record: port.Record) -> None:
        event = self._roster.hear(record)
        if not isinstance(event, VolumeMembersAnnounced):
            return
        self._reader.use(self.membership)
        asked = self._changes.get(event.request_id)
        if asked is None or asked.done():
            return
        if event.refusal:
            asked.set_exception(errors.RequestRefusedError(f"volume {self.volume}: {event.refusal}"))
        else:
            asked.set_result(of_event(event.membership))

    def _hear(self, record: port.Record) -> None:
        if record.topic == self._topics.members:
            self._hear_of_members(record)
            return
        try:
            event = self._registry.decode(record.value, record.headers)
        except ValueError:
            return  # not an announcement
        if not isinstance(event, VolumeDurableAdvanced) or event.volume != self.volume:
            return
        if self._announced is None or event.epoch >= self._announced.epoch:
            self._announced = event
        results = zip(event.request_ids, event.first_lsns, event.last_lsns, event.errors, strict=True)
        for request_id, first_lsn, last_lsn, refusal in results:
            asked = self._asked.get(request_id)
            if asked is None or asked.done():
                continue
            if refusal:
                asked.set_exception(errors.RequestRefusedError(f"volume {self.volume}: {refusal}"))
            else:
                asked.set_result(AppendResult(first_lsn, last_lsn))

    async def append(self, records: Sequence[bytes], *, timeout_s: float = 10.0) -> AppendResult:
        """Append `records` as one unit through the volume's writer; returns once they are durable on four copies.

        Raises VolumeLimitError and RequestRefusedError (nothing was written), and QuorumLostError: not acknowledged.
        """
        refusal = sequencer.Limits().refusal(records)
        if not refusal and (size := sum(map(len, records))) > REQUEST_BYTES_MAX:
            refusal = f"an append through the log has {size} bytes, {REQUEST_BYTES_MAX} at most; append it in parts"
        if refusal:
            raise errors.VolumeLimitError(f"volume {self.volume}: {refusal}")
        request = VolumeAppendRequested(
            volume=self.volume,
            request_id=uuid.uuid4().hex,
            records=list(records),
            expires_at_ms=clocks.now_ms(self._clock) + int(timeout_s * 1000),
        )
        asked: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._asked[request.request_id] = asked
        record = publisher.record_of(request, source="/volumes/client", clock=self._clock, partition=0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish([topics.moved(record, self._topics.append)])
                return await asked
        except TimeoutError:
            pass
        finally:
            self._asked.pop(request.request_id, None)
        raise await self._unanswered(timeout_s)

    async def _unanswered(self, timeout_s: float) -> errors.QuorumLostError:
        """Why an append may not have become durable."""
        answers = await self._reader.ask_all()
        hint = "" if len(answers) < 4 else " Is its writer running (volume.writer in `sixfold status`)?"
        return errors.QuorumLostError(
            f"an append is not durable after {timeout_s:g} s",
            answers,
            volume=self.volume,
            membership=self.membership,
            joining=[copy for copy, answer in answers.items() if answer.status.joining],
            outcome=f"It is not acknowledged, yet it may still become durable.{hint}",
        )

    async def replace(self, copy: str, *, undo: bool = False, timeout_s: float = 10.0) -> Membership:
        """Ask the volume's writer for a new copy in place of `copy`, or with `undo` to go back to it.

        Returns the membership that the writer begins; `replacing.watch` tells when it is complete. Raises
        RequestRefusedError (nothing was changed), and NoWriterError after `timeout_s`.
        """
        request = VolumeReplaceRequested(
            volume=self.volume,
            request_id=uuid.uuid4().hex,
            copy=copy,
            undo=undo,
            expires_at_ms=clocks.now_ms(self._clock) + int(timeout_s * 1000),
        )
        asked: asyncio.Future[Membership] = asyncio.get_running_loop().create_future()
        self._changes[request.request_id] = asked
        record = publisher.record_of(request, source="/volumes/client", clock=self._clock, partition=0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish([topics.moved(record, self._topics.members)])
                return await asked
        except TimeoutError:
            raise errors.NoWriterError(
                f"volume {self.volume}: no writer answered within {timeout_s:g} s; is one running (volume.writer in "
                "`sixfold status`)? What is under way: sixfold volume status"
            ) from None
        finally:
            self._changes.pop(request.request_id, None)

    async def status(self, *, timeout_s: float = 1.0) -> states.VolumeState:
        """The six copies as they answer now, those that do not as the tracker last knew them."""
        answers, known, held = await asyncio.gather(
            self._reader.ask_all(timeout_s=timeout_s),
            lastwords.tracked(self._bus, self._registry, self.volume),
            lastwords.held(self._bus, self._registry, self.volume, clocks.now_ms(self._clock)),
        )
        return states.state_of(self.volume, answers, known, self._announced, held, self.membership)

    async def read(self, from_lsn: int, count: int, *, copy: str | None = None, timeout_s: float = 2.0) -> ReadResult:
        """Up to `count` records from `from_lsn` on, fewer only where the durable part of the volume ends.

        The read point is what is durable now; all comes from one copy that holds everything up to there, as far as it is
        asked for: no quorum is needed. With `copy` from that one, as much as it knows to be durable. Raises
        CopyUnreachableError where no copy that answers has it all, UsageError for a `copy` that is no member.
        """
        if copy is not None and copy not in (members := self.membership.members):
            raise usage.UsageError(f"{copy!r} is no copy of volume {self.volume}; expected one of {', '.join(members)}")
        answers = await self._reader.ask_all([copy] if copy else None, timeout_s=min(timeout_s, 1.0))
        if not answers:
            raise readers.CopyUnreachableError(
                f"volume {self.volume}: {f'copy {copy} does not answer' if copy else 'none of its copies answers'}; "
                f"start it: sixfold volume start {copy or 'all'}"
            )
        is_group = layout.group_of(self.volume) is not None
        epoch, durable_lsn = states.read_point(answers.values(), self._announced, self.membership, group=is_group)
        ranked = sorted(answers.values(), key=lambda answer: -states.readable(answer, epoch, durable_lsn))
        most = states.readable(ranked[0], epoch, durable_lsn)
        last_lsn = min(most if copy else durable_lsn, from_lsn + count - 1)
        failure: Exception = readers.CopyUnreachableError(
            f"volume {self.volume}: LSN {durable_lsn} is durable, but none of the copies that answer "
            f"({layout.describe(answers, self.membership.member_places)}) has all up to LSN {last_lsn}; {ranked[0].copy} has most, up to LSN {most}. Start "
            f"the others: sixfold volume start all; or read what is there: sixfold volume read --copy {ranked[0].copy}"
        )
        for answer in ranked:
            if states.readable(answer, epoch, durable_lsn) >= last_lsn:
                try:
                    return await self._read(answer, from_lsn, last_lsn, epoch, durable_lsn, timeout_s)
                except (readers.CopyUnreachableError, readers.CopyDamagedError) as error:
                    failure = error
        raise failure

    async def _read(
        self, source: VolumeReadAnswered, from_lsn: int, last_lsn: int, epoch: int, durable_lsn: int, timeout_s: float
    ) -> ReadResult:
        payloads: list[bytes] = []
        while (lsn := from_lsn + len(payloads)) <= last_lsn:
            answer = await self._reader.ask(
                source.copy,
                from_lsn=lsn,
                count=last_lsn - lsn + 1,
                epoch=epoch,
                durable_lsn=durable_lsn,
                timeout_s=timeout_s,
            )
            if not answer.payloads:
                raise readers.CopyUnreachableError(
                    f"copy {source.copy} of volume {self.volume} had all up to LSN {last_lsn} and has nothing from LSN {lsn} "
                    "on now; try again"
                )
            payloads.extend(answer.payloads)
        return ReadResult(source.copy, from_lsn, payloads)
