"""Asking single copies: a request into the copy's partition of `volume.reads`, the answer from `volume.read.results`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold import errors, publisher
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import (
    VolumeKeysAnswered,
    VolumeKeysRequested,
    VolumePagesAnswered,
    VolumePagesRequested,
    VolumeReadAnswered,
    VolumeReadRequested,
    VolumeSnapshotAnswered,
    VolumeSnapshotRequested,
)
from sixfold_functions.volume import topics
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST, Membership

Answer = VolumeReadAnswered | VolumePagesAnswered | VolumeKeysAnswered | VolumeSnapshotAnswered
Request = VolumeReadRequested | VolumePagesRequested | VolumeKeysRequested | VolumeSnapshotRequested


class CopyUnreachableError(errors.SixfoldError):
    """A copy did not answer in time."""


class CopyDamagedError(errors.SixfoldError):
    """A copy cannot read what it had stored."""


class RecordsGoneError(CopyDamagedError):
    """A copy does not keep records that old any more; `floor_lsn` is the last that it let go."""

    def __init__(self, message: str, floor_lsn: int) -> None:
        super().__init__(message)
        self.floor_lsn = floor_lsn


class CopyReader:
    """Asks copies of one volume. Use as an async context manager."""

    def __init__(
        self, bus: port.Bus, *, registry: Registry, clock: clocks.Clock, volume: str, answer_partition: int = -1
    ) -> None:
        """With `answer_partition` the one who asks is a copy: it finds `ask`'s answers among the questions to itself, and
        gives them to `hear`."""
        self._bus = bus
        self._registry = registry
        self._clock = clock
        self._volume = volume
        self._topics = layout.topics(volume)
        self._answer_partition = answer_partition
        self._results = port.TopicPartition(self._topics.read_results, 0)
        self._consumer = bus.assign([self._results], start=port.LATEST)
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._task: asyncio.Task[None] | None = None
        self.use(FIRST)

    def use(self, membership: Membership) -> None:
        """Know the copies of `membership`, and ask its members where all are asked."""
        self._members = membership.members
        self._partitions = {place.copy: place.partition for place in membership.places}

    async def __aenter__(self) -> Self:
        end = (await self._bus.offsets(self._results)).end
        await self._consumer.__aenter__()
        await self._consumer.seek(self._results, end)
        self._task = asyncio.create_task(self._listen(), name=f"volume-{self._volume}-read-results")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for records in topics.follow(self._consumer, self._clock):
            for record in records if self._asked else ():  # others' answers are long
                answer = topics.decoded(self._registry, record)
                if isinstance(answer, Answer):
                    self.hear(answer)

    def hear(self, answer: Answer) -> None:
        """An answer came; it may be another one's."""
        asked = self._asked.pop(answer.request_id, None)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def ask(
        self,
        copy: str,
        *,
        from_lsn: int = 1,
        count: int = 0,
        epoch: int = 0,
        durable_lsn: int = 0,
        whole_batches: bool = False,
        timeout_s: float = 2.0,
    ) -> VolumeReadAnswered:
        """What `copy` answers. Raises CopyUnreachableError after `timeout_s`, CopyDamagedError if its log is broken,
        RecordsGoneError where it begins later.
        """
        request = VolumeReadRequested(
            volume=self._volume,
            copy=copy,
            request_id=uuid.uuid4().hex,
            from_lsn=from_lsn,
            count=count,
            epoch=epoch,
            durable_lsn=durable_lsn,
            whole_batches=whole_batches,
            answer_partition=self._answer_partition,
        )
        answer = await self._request(request, timeout_s)
        assert isinstance(answer, VolumeReadAnswered)
        if answer.error:
            gone = count > 0 and answer.floor_lsn >= from_lsn
            raise RecordsGoneError(answer.error, answer.floor_lsn) if gone else CopyDamagedError(answer.error)
        return answer

    async def ask_pages(
        self, copy: str, pages: Sequence[int], *, lsn: int, epoch: int, timeout_s: float = 2.0
    ) -> VolumePagesAnswered:
        """Pages of `copy` at the read point `lsn` of `epoch`, as many as one answer holds. Raises as `ask`."""
        request = VolumePagesRequested(
            volume=self._volume, copy=copy, request_id=uuid.uuid4().hex, pages=list(pages), lsn=lsn, epoch=epoch
        )
        answer = await self._request(request, timeout_s)
        assert isinstance(answer, VolumePagesAnswered)
        return answer

    async def keys(
        self, copy: str, *, rotate: bool = False, reencrypt: bool = False, timeout_s: float = 2.0
    ) -> VolumeKeysAnswered:
        """Under which data keys the segments of `copy` are, after a new one if that is asked for.

        Raises CopyUnreachableError; why a copy did not do what it was asked for is in the answer.
        """
        request = VolumeKeysRequested(
            volume=self._volume, copy=copy, request_id=uuid.uuid4().hex, rotate=rotate, reencrypt=reencrypt
        )
        answer = await self._request(request, timeout_s)
        assert isinstance(answer, VolumeKeysAnswered)
        return answer

    async def ask_snapshot(
        self, copy: str, *, lsn: int = 0, first_page: int = 0, timeout_s: float = 5.0
    ) -> VolumeSnapshotAnswered:
        """A part of all pages of `copy` at `lsn`, 0 for its newest state. Raises as `ask`."""
        request = VolumeSnapshotRequested(
            volume=self._volume, copy=copy, request_id=uuid.uuid4().hex, lsn=lsn, first_page=first_page
        )
        answer = await self._request(request, timeout_s)
        assert isinstance(answer, VolumeSnapshotAnswered)
        return answer

    async def _request(self, request: Request, timeout_s: float) -> Answer:
        partition = self._partitions.get(request.copy)
        if partition is None:
            known = ", ".join(self._members)
            raise CopyUnreachableError(f"volume {self._volume} has no copy {request.copy}; expected one of {known}")
        asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[request.request_id] = asked
        record = publisher.record_of(request, source="/volumes/reader", clock=self._clock, partition=partition)
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish([topics.moved(record, self._topics.reads)])
                answer = await asked
        except TimeoutError:
            raise CopyUnreachableError(
                f"copy {request.copy} of volume {self._volume} did not answer within {timeout_s:g} s; "
                f"start it with: sixfold volume start {request.copy}"
            ) from None
        finally:
            self._asked.pop(request.request_id, None)
        if answer.error and not isinstance(answer, VolumeKeysAnswered | VolumeReadAnswered):
            raise CopyDamagedError(answer.error)
        return answer

    async def ask_all(
        self, copies: Iterable[str] | None = None, *, timeout_s: float = 1.0
    ) -> dict[str, VolumeReadAnswered]:
        """How each copy is, of all members if none are given; those that do not answer in time are left out."""

        async def one(copy: str) -> VolumeReadAnswered | None:
            try:
                return await self.ask(copy, timeout_s=timeout_s)
            except (CopyUnreachableError, CopyDamagedError, port.BusError):
                return None

        names = list(self._members if copies is None else copies)
        answers = await asyncio.gather(*(one(copy) for copy in names))
        return {copy: answer for copy, answer in zip(names, answers, strict=True) if answer is not None}
