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
from sixfold import publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeAppendRequested, VolumeDurableAdvanced, VolumeReadAnswered
from sixfold_functions.volume import errors, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import status as states
from sixfold_functions.volume.core import layout, sequencer
from sixfold_functions.volume.errors import QuorumLostError, RequestRefusedError, StaleWriterError, VolumeLimitError
from sixfold_functions.volume.pages.volume import PagesUnreadableError, PageVolume, PageVolumeError
from sixfold_functions.volume.settings import AppendResult, WriterSettings
from sixfold_functions.volume.writer import VolumeWriter

__all__ = [
    "AppendResult",
    "PageVolume",
    "PageVolumeError",
    "PagesUnreadableError",
    "QuorumLostError",
    "ReadResult",
    "RequestRefusedError",
    "StaleWriterError",
    "VolumeClient",
    "VolumeLimitError",
    "VolumeWriter",
    "WriterSettings",
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

    async def __aenter__(self) -> Self:
        await self._bus.create_topics(topics.specs(self.volume))
        await self._reader.__aenter__()
        for record in await topics.last_records(self._bus, self._topics.durable, 1):
            self._hear(record)
        end = (await self._bus.offsets(self._durable)).end
        consumer = self._bus.assign([self._durable], start=port.LATEST)
        await consumer.__aenter__()
        await consumer.seek(self._durable, end)
        self._listener = asyncio.create_task(self._listen(consumer), name="volume-durable")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._reader.__aexit__(None, None, None)

    async def _listen(self, consumer: port.Consumer) -> None:
        try:
            async for records in topics.follow(consumer, self._clock):
                for record in records:
                    self._hear(record)
        finally:
            await consumer.__aexit__(None, None, None)

    def _hear(self, record: port.Record) -> None:
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
        answers = await self._reader.ask_all()
        hint = "" if len(answers) < 4 else " Is its writer running (volume.writer in `sixfold status`)?"
        raise errors.QuorumLostError(
            f"an append is not durable after {timeout_s:g} s",
            answers,
            volume=self.volume,
            joining=[copy for copy, answer in answers.items() if answer.status.joining],
            outcome=f"It is not acknowledged, yet it may still become durable.{hint}",
        )

    async def status(self, *, timeout_s: float = 1.0) -> states.VolumeState:
        """The six copies as they answer now, those that do not as the tracker last knew them."""
        answers, known = await asyncio.gather(self._reader.ask_all(timeout_s=timeout_s), self._tracked())
        return states.state_of(self.volume, answers, known, self._announced)

    async def _tracked(self) -> states.Tracked | None:
        for record in reversed(await topics.last_records(self._bus, self._topics.status, 1)):
            event = self._registry.decode(record.value, record.headers)
            if isinstance(event, states.Tracked):
                return event
        return None

    async def read(self, from_lsn: int, count: int, *, copy: str | None = None, timeout_s: float = 2.0) -> ReadResult:
        """Up to `count` records from `from_lsn` on, fewer where the durable part of the volume ends.

        From `copy`, else from whichever has them; no quorum is needed. Raises CopyUnreachableError.
        """
        answers = await self._reader.ask_all([copy] if copy else layout.COPIES, timeout_s=min(timeout_s, 1.0))
        if not answers:
            raise readers.CopyUnreachableError(
                f"volume {self.volume}: {f'copy {copy} does not answer' if copy else 'none of the six copies answers'}; "
                f"start it: sixfold volume start {copy or 'all'}"
            )
        epoch, durable_lsn = states.read_point(answers.values(), self._announced)
        ranked = sorted(answers.values(), key=lambda answer: -states.readable(answer, epoch, durable_lsn))
        for answer in ranked[:-1]:
            try:
                return await self._read(answer, from_lsn, count, epoch, durable_lsn, timeout_s)
            except (readers.CopyUnreachableError, readers.CopyDamagedError):
                continue
        return await self._read(ranked[-1], from_lsn, count, epoch, durable_lsn, timeout_s)

    async def _read(
        self, source: VolumeReadAnswered, from_lsn: int, count: int, epoch: int, durable_lsn: int, timeout_s: float
    ) -> ReadResult:
        payloads: list[bytes] = []
        while len(payloads) < count:
            answer = await self._reader.ask(
                source.copy,
                from_lsn=from_lsn + len(payloads),
                count=count - len(payloads),
                epoch=epoch,
                durable_lsn=durable_lsn,
                timeout_s=timeout_s,
            )
            if not answer.payloads:
                break
            payloads.extend(answer.payloads)
        return ReadResult(source.copy, from_lsn, payloads)
