"""Where a copy's data keys come from: at its start those of its segments, at a rotation a new one.

Never on the way of an append: a copy that runs holds its keys, and goes on while the key service is away. One that
starts waits for it and says so; where it refuses, the copy ends and says what to do.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from sixfold import errors
from sixfold.process import Process
from sixfold_functions.volume.encryption import inventory
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.settings import KeySettings

T = TypeVar("T")


def of_copy(process: Process, settings: KeySettings, volume: str, copy: str) -> Custodian:
    """For one copy of a volume."""
    label = f"copy {copy} of volume {volume}"
    return Custodian(process, settings, label=label, context={"volume": volume, "copy": copy})


RETRY_S = 0.5
"""Wait before the next try; doubles each time."""
RETRY_MAX_S = 10.0


class KeyServiceAwayError(errors.SixfoldError):
    """The key service, or the gateway that issues sessions for it, does not answer."""


class KeyRefusedError(errors.SixfoldError):
    """The key service does not give out a data key."""


class Custodian:
    """Asks in the name of one copy, or of a backup: `label`, for people."""

    def __init__(self, process: Process, settings: KeySettings, *, label: str, context: dict[str, str]) -> None:
        """`context` is bound to each data key: another copy's cannot be opened in this one's name."""
        self._process = process
        self._settings = settings
        self._label = label
        self._context = context
        self._log = structlog.get_logger().bind(**context)

    async def keyring(self, segments: Sequence[inventory.Held], layers: Sequence[inventory.Held]) -> Keyring:
        """All that a start needs for what is held; waits while the key service is away. Raises KeyRefusedError."""
        keys: list[DataKey] = []
        for envelope in inventory.envelopes([*segments, *layers]):
            blob, kms_key = envelope.data_key, envelope.kms_key
            plaintext = await self.patiently(lambda: self.decrypt(blob))  # noqa: B023 (awaited at once)
            keys.append(DataKey(kms_key, blob, plaintext))
        if segments and (newest := segments[-1].envelope) is not None:
            current = next(key for key in keys if key.blob == newest.data_key)
            return Keyring(keys, current=current, reencrypt=segments[-1].reencrypt)
        kms_key = self._settings.kms_key
        return Keyring(keys, current=await self.patiently(lambda: self.generate(kms_key)) if kms_key else None)

    async def fresh(self, keyring: Keyring) -> DataKey:
        """A new data key for a copy that runs. Raises KeyServiceAwayError, KeyRefusedError."""
        kms_key = self._settings.kms_key or (keyring.current.kms_key if keyring.current is not None else "")
        if not kms_key:
            raise KeyRefusedError(
                f"{self._label} is in plain, and no key is named for it; name one: SIXFOLD_VOLUME_KMS_KEY=alias/volume "
                "sixfold up, or sixfold run volume.storage --kms-key alias/volume"
            )
        return await self.generate(kms_key)

    async def decrypt(self, blob: bytes) -> bytes:
        # The clients of the key service and of the gateway are nine megabytes that a copy in plain does without.
        from sixfold_functions.volume.encryption import asking

        async with asking.client(self._process, self._settings, self._label) as kms:
            return await kms.decrypt(blob, self._context)

    async def generate(self, kms_key: str) -> DataKey:
        from sixfold_functions.volume.encryption import asking

        async with asking.client(self._process, self._settings, self._label) as kms:
            made = await kms.generate_data_key(kms_key, self._context)
        key = DataKey(made.key_id, made.ciphertext_blob, made.plaintext)
        self._log.info("a new data key", action="volume.key.made", kms_key=key.kms_key, data_key=key.id)
        return key

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        for attempt in itertools.count():
            try:
                return await ask()
            except KeyServiceAwayError as error:
                wait_s = min(RETRY_S * 2.0 ** min(attempt, 10), RETRY_MAX_S)
                self._log.warning(
                    f"{self._label} waits for the key service",
                    action="volume.key.waiting",
                    error=str(error),
                    tries=attempt + 1,
                    next_try_s=wait_s,
                )
                await self._process.clock.sleep(wait_s)
        raise AssertionError("it counts for ever")


async def unless_stopped(process: Process, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives; None, and it is cancelled, where the process is asked to stop before."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(process.stopping.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
