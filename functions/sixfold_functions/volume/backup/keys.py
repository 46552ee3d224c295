"""The data keys of a backup: each lies in the store as its ciphertext, and opens with nothing but the key service.

`VOLUME/keys/<id>` is JSON. All of a backup's keys are asked for when it is opened, so nothing waits for the key service
while records are taken or restored. Where a key is named (SIXFOLD_VOLUME_KMS_KEY) the first one is made by whoever backs
up; objects from before stay in plain until they are merged. A later one (`rotate`) is the current one from then on: whoever
runs looks for it every `FOLLOW_S`. Ciphertexts stay, as somebody who has not looked yet may still write under the key
before; they are worth nothing once the key service does not open them any more.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.process import Process
from sixfold_functions.volume.backup import archive
from sixfold_functions.volume.encryption import custody
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.settings import KeySettings

FOLLOW_S = 20.0


class BackupKeyError(errors.SixfoldError):
    """What lies in the store in the place of a data key is none."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A data key as the store has it."""

    kms_key: str
    blob: bytes
    """Its ciphertext."""
    made_ms: int
    """Unix milliseconds; the newest is the one that new objects are made under."""
    reencrypt: bool = False
    """With the newest: older objects are to be written anew under it."""


async def unlock(process: Process, kept: archive.Archive, settings: KeySettings, *, making: bool = False) -> None:
    """Give `kept` its keys, and with `making` a first one where `settings` name a key and it has none.

    Waits while the key service is away. Raises StoreError, KeyRefusedError, BackupKeyError.
    """
    found = await asyncio.to_thread(_found, kept)
    if not found and not (making and settings.kms_key):
        return
    custodian = _custodian(process, kept, settings)
    if not found:
        made = await custodian.patiently(lambda: custodian.generate(settings.kms_key))
        named = Kept(kms_key=made.kms_key, blob=made.blob, made_ms=clocks.now_ms(process.clock))
        await asyncio.to_thread(kept.store.create, archive.KEYS + made.id, msgspec.json.encode(named))
        kept.keyring = Keyring([made], current=made)
        return
    keys = []
    for each in found:
        blob = each.blob
        try:
            plaintext = await custodian.patiently(lambda: custodian.decrypt(blob))  # noqa: B023 (awaited at once)
        except custody.KeyRefusedError as refused:
            if each is found[-1]:
                raise
            # Retired: perhaps nothing is under it any more; what is says so when it is read.
            structlog.get_logger().warning(
                "a retired data key is not opened", action="volume.key.refused", volume=kept.volume, error=str(refused)
            )
            continue
        keys.append(DataKey(each.kms_key, blob, plaintext))
    kept.keyring = Keyring(keys, current=keys[-1], reencrypt=found[-1].reencrypt)


async def rotate(process: Process, kept: archive.Archive, settings: KeySettings, *, reencrypt: bool) -> DataKey:
    """Give `kept`, which is unlocked, a new data key from now on. Raises KeyRefusedError, KeyServiceAwayError, StoreError."""
    found = await asyncio.to_thread(_found, kept)
    made = await _custodian(process, kept, settings).fresh(kept.keyring)
    made_ms = max([clocks.now_ms(process.clock), *(each.made_ms + 1 for each in found)])
    named = Kept(kms_key=made.kms_key, blob=made.blob, made_ms=made_ms, reencrypt=reencrypt)
    await asyncio.to_thread(kept.store.create, archive.KEYS + made.id, msgspec.json.encode(named))
    kept.keyring.use(made, reencrypt=reencrypt)
    return made


async def follow(process: Process, kept: archive.Archive, settings: KeySettings, *, every_s: float = FOLLOW_S) -> None:
    """For ever: take a data key that somebody made."""
    log = structlog.get_logger().bind(volume=kept.volume, store=kept.url)
    known = await asyncio.to_thread(kept.store.names, archive.KEYS)
    while True:
        await process.clock.sleep(every_s)
        try:
            names = await asyncio.to_thread(kept.store.names, archive.KEYS)
            if names != known:
                await unlock(process, kept, settings)
                known = names
                log.info("another data key", action="volume.key.taken", current=kept.keyring)
        except errors.SixfoldError as error:
            log.warning("a new data key has to wait", action="volume.key.waiting", error=str(error))


def _custodian(process: Process, kept: archive.Archive, settings: KeySettings) -> custody.Custodian:
    label = f"the backup of volume {kept.volume}"
    return custody.Custodian(process, settings, label=label, context=_context(kept))


def _context(kept: archive.Archive) -> dict[str, str]:
    return {"volume": kept.volume, "copy": "backup"}


def _found(kept: archive.Archive) -> list[Kept]:
    keys = []
    for item in kept.store.names(archive.KEYS):
        data = kept.store.read(item.name)
        try:
            keys.append(msgspec.json.decode(data, type=Kept))
        except msgspec.DecodeError as error:
            raise BackupKeyError(
                f"{kept.url}: object {kept.volume}/{item.name}: expected a data key's ciphertext, found {data[:20]!r}: it was "
                "changed; bring it back from wherever the store keeps older versions"
            ) from error
    return sorted(keys, key=lambda key: key.made_ms)
