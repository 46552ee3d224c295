"""Asking `kms.serve` through the log: a request goes out, its proven answer comes back."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.publisher import Publisher
from sixfold_events import DecodeError
from sixfold_events.kms import KeyAnswered, KeyRequested
from sixfold_events.registry import Registry
from sixfold_functions.kms import messages

RESULTS = "kms.results"
UNPROVEN_WAIT_S = 1.0
"""A refusal without proof may be somebody else's; a proven answer may still come for this long."""


class KmsError(errors.SixfoldError):
    """The key service refused; `code` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class NoAnswerError(errors.SixfoldError):
    """No answer came in time. The request may still be answered, but only this call could have opened the answer."""


class Asker:
    """Listens to answers while it is open. Use as an async context manager."""

    def __init__(self, bus: port.Bus, *, clock: clocks.Clock, timeout_s: float = 30.0) -> None:
        self._bus = bus
        self._clock = clock
        self._timeout_s = timeout_s
        self._publisher = Publisher(bus, source="/kms/client", clock=clock)
        self._registry = Registry([KeyAnswered])
        self._waiting: dict[bytes, asyncio.Queue[KeyAnswered]] = {}
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        spec = (await self._bus.topics()).get(RESULTS)
        if spec is None:
            raise errors.UsageError(f"there is no topic {RESULTS}; start the system with `sixfold up` first")
        partitions = [port.TopicPartition(RESULTS, number) for number in range(spec.partitions)]
        consumer = await self._exits.enter_async_context(self._bus.assign(partitions, start=port.LATEST))
        for partition in partitions:
            await consumer.seek(partition, (await self._bus.offsets(partition)).end)
        reading = asyncio.create_task(self._read(consumer), name="kms.client")
        self._exits.push_async_callback(_stop, reading)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def ask(self, request: KeyRequested, secret: str) -> KeyAnswered:
        """The proven answer to a request that the session with `secret` signed. Raises KmsError, NoAnswerError.

        An error without proof counts only when nothing better comes.
        """
        answers: asyncio.Queue[KeyAnswered] = asyncio.Queue()
        key = request.request_id.encode()
        self._waiting[key] = answers
        deadline_s = self._clock.monotonic() + self._timeout_s
        unproven: KeyAnswered | None = None
        try:
            await self._publisher.publish(request)
            while True:
                try:
                    async with asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic())):
                        answer = await answers.get()
                except TimeoutError:
                    break
                try:
                    messages.check(secret, request, answer)
                except messages.InvalidAnswerError:
                    if unproven is None and answer.error_code:
                        unproven = answer
                        deadline_s = min(deadline_s, self._clock.monotonic() + UNPROVEN_WAIT_S)
                    continue
                return _allowed(answer)
        finally:
            del self._waiting[key]
        if unproven is not None:
            return _allowed(unproven)
        raise NoAnswerError(
            f"{request.operation}: no answer within {self._timeout_s:g} s; is `kms.serve` running? see `sixfold status`"
        )

    async def _read(self, consumer: port.Consumer) -> None:
        while True:
            for records in (await consumer.fetch(wait_s=5.0)).values():
                for record in records:
                    answers = self._waiting.get(record.key or b"")
                    if answers is not None:
                        with contextlib.suppress(DecodeError):
                            answer = self._registry.decode(record.value, record.headers)
                            assert isinstance(answer, KeyAnswered)
                            answers.put_nowait(answer)


def _allowed(answer: KeyAnswered) -> KeyAnswered:
    if answer.error_code:
        raise KmsError(answer.error_code, answer.error_message)
    return answer


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
