"""What whoever writes a volume does with appends: a queue in front of the sequencer, deadlines, and who learns what failed.

`writer.py` writes a volume of one group of six copies with it, `groups/writer.py` one that is spread over several groups.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold_functions.volume import deadline as deadlines
from sixfold_functions.volume import errors
from sixfold_functions.volume.core import layout, sequencer
from sixfold_functions.volume.settings import AppendResult, WriterSettings

Waiter = asyncio.Future[AppendResult] | None


class Appender(abc.ABC):
    """Takes appends until something fails. Use as an async context manager; entering takes the volume over."""

    def __init__(self, *, volume: str, name: str, clock: clocks.Clock | None, settings: WriterSettings | None) -> None:
        self.volume = volume
        self.name = name  # who this is, for people
        self.clock = clock or clocks.SystemClock()
        self.settings = settings or WriterSettings()
        self.topics = layout.topics(volume)
        self.sequencer: sequencer.Sequencer[Waiter] = sequencer.Sequencer(self.settings.limits)
        self.changed = asyncio.Event()
        """Set at each acknowledgement and each tick."""
        self.failure: Exception | None = None
        self.answered_offset = 0  # next offset of `volume.append` to take; every request below has been taken
        self.succeeded = asyncio.Event()
        """Set once this writer also knows which append requests its predecessors took."""
        self._pumping = False
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def durable_lsn(self) -> int:
        """VDL."""
        return self.sequencer.durable_lsn

    # -- beginning and ending --------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def start(self) -> None:
        """Begin to take the volume over; `established` waits for it."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Announce what is durable, then stop. Appends that still wait fail with an unknown outcome."""

    @abc.abstractmethod
    def _is_established(self) -> bool:
        """Whether this writer has the volume."""

    @abc.abstractmethod
    def _quorum_lost(self, what: str, *, since: float, outcome: str) -> errors.QuorumLostError:
        """The error that says which copies were heard since then."""

    @abc.abstractmethod
    def _pump(self) -> None:
        """Send what waits, as far as there is room."""

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

    async def established(self) -> None:
        """Return once this writer has the volume. Raises what made it fail."""
        while not self._is_established():
            self._check_failure()
            await self.wait_change()
        self._check_failure()

    async def wait_change(self) -> None:
        """Return at the next acknowledgement or tick."""
        self.changed.clear()
        await self.changed.wait()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error if isinstance(error, Exception) else errors.VolumeError(repr(error)))

    def start_task(self, task: asyncio.Task[None]) -> None:
        """Let `task` end with this writer, and the writer fail with it."""
        self._tasks.append(task)
        task.add_done_callback(self._task_done)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        if refusal := self.refusal(records):
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

    def refusal(self, records: Sequence[bytes]) -> str:
        """Why an append of `records` cannot be taken; empty if it can."""
        return self.settings.limits.refusal(records)

    async def room(self) -> None:
        """Return once the queue has room."""
        while self._is_full():
            self._check_failure()
            self._room.clear()
            await self._room.wait()

    def _is_full(self) -> bool:
        count, size = self.sequencer.waiting()
        return count >= self.settings.waiting_max or size >= self.settings.waiting_bytes_max

    def _tell_room(self) -> None:
        if not self._room.is_set() and not self._is_full():
            self._room.set()

    def offer(self, append: sequencer.Append[Waiter]) -> None:
        """Queue an append; whatever waits goes out with the next batch."""
        self._check_failure()
        self.sequencer.offer(append)
        self._pump_soon()

    def _pump_soon(self) -> None:
        """After what is ready to run by now, so that all who append meanwhile share the batch."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)
