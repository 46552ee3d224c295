"""What other capabilities and users may use of key management: data keys by requests through the log.

async with KmsClient(bus, credentials) as kms:
    key = await kms.generate_data_key("alias/payments", {"topic": "payments"})
    again = await kms.decrypt(key.ciphertext_blob, {"topic": "payments"})
"""

from __future__ import annotations

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
from sixfold_events.kms import KeyAnswered, KeyRequested
from sixfold_functions.identity.client import Credentials
from sixfold_functions.kms import core, encoding, messages
from sixfold_functions.kms.asking import Asker, KmsError, NoAnswerError
from sixfold_functions.kms.root import RootKeyError
from sixfold_functions.kms.vault import Vault, open_vault

__all__ = ["DataKey", "KmsClient", "KmsError", "NoAnswerError", "RootKeyError", "Vault", "open_vault"]


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
        self._credentials = credentials
        self._clock = clock or clocks.SystemClock()
        self._asker = Asker(bus, clock=self._clock, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        await self._asker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._asker.__aexit__(kind, error, trace)

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
        return await self._asker.ask(request, self._credentials.secret_access_key)
