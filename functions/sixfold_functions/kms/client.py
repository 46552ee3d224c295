"""What other capabilities and users may use of key management: data keys by requests through the log.

async with KmsClient(bus, credentials) as kms:
    key = await kms.generate_data_key("alias/payments", {"topic": "payments"})
    again = await kms.decrypt(key.ciphertext_blob, {"topic": "payments"})
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.publisher import Publisher
from sixfold_events import DecodeError
from sixfold_events.kms import KeyAnswered, KeyRequested
from sixfold_events.registry import Registry
from sixfold_functions.identity.client import Credentials
from sixfold_functions.kms import core, encoding, messages
from sixfold_functions.kms.root import RootKeyError
from sixfold_functions.kms.vault import Vault, open_vault

__all__ = ["DataKey", "KmsClient", "KmsError", "NoAnswerError", "RootKeyError", "Vault", "open_vault"]

RESULTS = "kms.results"
UNPROVEN_WAIT_S = 1.0
"""A refusal without proof may be somebody else's; a proven answer may still come for this long."""


class KmsError(errors.SixfoldError):
    """The key service refused; `code` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code


class NoAnswerError(errors.SixfoldError):
    """No answer came in time. The request may still be answered, but only this call could have opened the answer."""


@dataclass(frozen=True)
class DataKey:
    """A data key: use `plaintext` and forget it, keep `ciphertext_blob` beside what it encrypted."""

    key_id: str
    plaintext: bytes = field(repr=False)
    ciphertext_blob: bytes


class KmsClient:
    """Asks `kms.serve` through the log, in the name of a session. Use as an async context manager."""

    def __init__(
        self,
        bus: port.Bus,
        credentials: Credentials,
        *,
        clock: clocks.Clock | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._bus = bus
        self._credentials = credentials
        self._clock = clock or clocks.SystemClock()
        self._timeout_s = timeout_s
        self._publisher = Publisher(bus, source="/kms/client", clock=self._clock)
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

    async def generate_data_key(
        self, key_id: str, context: Mapping[str, str] | None = None, *, number_of_bytes: int = 32
    ) -> DataKey:
        """A new data key under `key_id`, bound to `context`. Raises KmsError, NoAnswerError."""
        recipient = X25519PrivateKey.generate()
        request = self._signed("GenerateDataKey", key_id, context, recipient, number_of_bytes=number_of_bytes)
        answer = await self._ask(request)
        plaintext = messages.unseal(answer.sealed_plaintext, recipient, request)
        return DataKey(answer.key_id, plaintext, answer.ciphertext_blob)

    async def decrypt(self, blob: bytes, context: Mapping[str, str] | None = None, *, key_id: str = "") -> bytes:
        """The plaintext of a blob that was made for `context`. Raises KmsError, NoAnswerError."""
        recipient = X25519PrivateKey.generate()
        request = self._signed("Decrypt", key_id, context, recipient, ciphertext_blob=blob)
        return messages.unseal((await self._ask(request)).sealed_plaintext, recipient, request)

    async def create_key(self, *, alias: str = "", description: str = "") -> str:
        """Make a key, named by `alias` if one is given; returns its ARN. Raises KmsError, NoAnswerError."""
        return (await self._ask(self._signed("CreateKey", alias=alias, description=description))).key_id

    async def create_alias(self, alias: str, key_id: str) -> str:
        """Name a key; returns its ARN. Raises KmsError, NoAnswerError."""
        return (await self._ask(self._signed("CreateAlias", key_id, alias=alias))).key_id

    def _signed(
        self,
        operation: str,
        key_id: str = "",
        context: Mapping[str, str] | None = None,
        recipient: X25519PrivateKey | None = None,
        *,
        number_of_bytes: int = 32,
        ciphertext_blob: bytes = b"",
        alias: str = "",
        description: str = "",
    ) -> KeyRequested:
        request = KeyRequested(
            request_id=str(uuid.UUID(bytes=os.urandom(16), version=4)),
            lane=core.lane_of(operation, self._credentials.access_key_id),
            operation=operation,
            encryption_context=dict(context or {}),
            access_key_id=self._credentials.access_key_id,
            session_token=self._credentials.session_token,
            signed_at_ms=clocks.now_ms(self._clock),
            signature=b"",
            key_id=key_id,
            number_of_bytes=number_of_bytes,
            ciphertext_blob=ciphertext_blob,
            alias=alias,
            description=description,
            recipient=recipient.public_key().public_bytes_raw() if recipient else b"",
        )
        try:
            signature = messages.sign(self._credentials.secret_access_key, request)
        except encoding.InvalidContextError as error:
            raise errors.UsageError(str(error)) from error
        return msgspec.structs.replace(request, signature=signature)

    async def _ask(self, request: KeyRequested) -> KeyAnswered:
        """The proven answer. An error without proof counts only when nothing better comes."""
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
                    messages.check(self._credentials.secret_access_key, request, answer)
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
