"""Another data key for a backup: old objects stay readable, and are written anew where that is asked for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.kms.system import System, running_system
from tests.functions.volume.backup.making import FlakyStore, batches, records
from tests.functions.volume.backup.paged import Lived, restored
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.process import Process
from sixfold_functions.volume.backup import (
    archive,
    keeping,
    keys,
    objects,
    past,
    reencrypting,
    restoring,
    settings,
    snapshots,
    store,
    verifying,
)
from sixfold_functions.volume.encryption import custody
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import KeyMissingError, Keyring
from sixfold_functions.volume.encryption.settings import KeySettings

ALIAS = "alias/volume"
OLD, NEW = (DataKey(kms_key="", blob=bytes([number]) * 40, plaintext=bytes([number]) * 32) for number in (1, 2))
BOTH = Keyring([OLD, NEW], current=NEW, reencrypt=True)


def opened(kept: store.Store, keyring: Keyring, volume: str = "default") -> archive.Archive:
    made = archive.Archive(kept, volume)
    made.keyring = keyring
    made.refresh()
    return made


def reencrypted(kept: archive.Archive) -> int:
    stale = list(reencrypting.stale(kept))
    for piece in stale:
        reencrypting.rewrite(kept, piece)
    kept.refresh()
    return len(stale)


def test_nothing_is_left_under_a_retired_key_once_all_is_written_anew(tmp_path: Path) -> None:
    """Log and snapshots, encrypted before or in plain; with the new key alone every moment is there."""
    kept = store.MemoryStore()
    lived = Lived(kept)
    for keyring in (Keyring(), Keyring([OLD], current=OLD), Keyring([OLD], current=OLD)):
        lived._keyring = keyring
        lived.live(40)
        lived.back_up()
        lived.snapshot(tmp_path)
    assert set(verifying.verify(opened(kept, BOTH)).keys) == {"", OLD.id}
    names = set(kept.objects)
    assert reencrypted(opened(kept, BOTH)) == 6
    assert reencrypted(opened(kept, BOTH)) == 0
    assert set(kept.objects) == names
    alone = opened(kept, Keyring([NEW], current=NEW))
    found = verifying.verify(alone)
    assert (found.findings, set(found.keys)) == ([], {NEW.id})
    for at_ms in lived.moments(lived.stamps[0])[::30]:
        assert restored(alone, at_ms) == lived.truth(at_ms)
    with pytest.raises(KeyMissingError, match="does not hold"):
        list(opened(kept, Keyring([OLD])).batches())


def test_a_rewriting_that_ends_anywhere_leaves_each_object_under_one_key() -> None:
    """A store that fails before or after a call; whoever goes on finishes it."""

    class Replacing(FlakyStore):
        def replace(self, name: str, data: bytes) -> None:
            self._fails(name)
            super().replace(name, data)
            self._fails(name)

    kept = Replacing(random.Random(1))
    made = opened(kept, Keyring([OLD], current=OLD))
    for minute in range(12):
        made.add(batches(30, first_lsn=60 * minute + 1))
    expected = records(made)
    kept.failing = 0.3
    tries = 0
    while True:
        tries += 1
        try:
            if not reencrypted(opened(kept, BOTH)):
                break
        except store.StoreError:
            continue
    assert tries > 2
    kept.failing = 0.0
    assert records(opened(kept, Keyring([NEW]))) == expected


def test_what_is_damaged_stays_as_it_is() -> None:
    """Written anew it would look sound."""
    kept = store.MemoryStore()
    made = opened(kept, Keyring([OLD], current=OLD))
    made.add(batches(30))
    [name] = kept.objects
    kept.objects[name] = damaged = kept.objects[name][:-1] + b"x"
    other = opened(kept, BOTH)
    with pytest.raises(objects.ObjectDamagedError, match="CRC-32 does not fit"):
        reencrypting.rewrite(other, next(reencrypting.stale(other)))
    assert kept.objects[name] == damaged


def test_a_clone_reads_on_while_its_objects_are_written_anew() -> None:
    """It remembers where blocks lay, and looks again."""
    kept = store.MemoryStore()
    made = opened(kept, Keyring([OLD], current=OLD))
    made.add(batches(9_000))
    assert len(made.head(made.chain.pieces[0]).blocks) > 2
    origin = restoring.find(made, None, volume="cloned", shared=True)
    reader = past.SharedPast(opened(kept, BOTH), origin)
    found = [next(reader.between(1, 2))]
    longer = DataKey(kms_key="arn:aws:kms:longer", blob=NEW.blob, plaintext=NEW.plaintext)
    reencrypted(opened(kept, Keyring([OLD, longer], current=longer)))
    found += reader.between(3, 18_000)
    assert [batch.first_lsn for batch in found] == list(range(1, 18_000, 2))


def test_the_service_writes_anew_what_is_to_be(tmp_path: Path) -> None:
    """In its second round with the key, when all that read the backup have it; what merges leave under the old one, too."""
    kept = store.MemoryStore()
    made = opened(kept, Keyring([OLD], current=OLD))
    made.add(batches(30))
    keeper = keeping.Keeper(made, tmp_path, clock=clocks.SystemClock(), chosen=settings.BackupSettings())
    made.keyring = BOTH
    counted = []
    for _ in range(3):
        keeper._work()
        counted.append(verifying.verify(opened(kept, BOTH)).keys)
    assert counted == [{OLD.id: 1}, {NEW.id: 1}, {NEW.id: 1}]
    opened(kept, Keyring([OLD], current=OLD)).add(batches(30, first_lsn=61))
    keeper._work()
    assert verifying.verify(opened(kept, BOTH)).keys == {NEW.id: 2}


@pytest.fixture
async def kms(tmp_path: Path) -> AsyncIterator[System]:
    """The key service with one key, and a gateway that issues sessions."""
    async with running_system(buses.Place("embedded:", tmp_path)) as running:
        await running.key(ALIAS)
        yield running


async def test_a_new_data_key_of_the_key_service_is_taken_by_whoever_runs(kms: System, tmp_path: Path) -> None:
    """Both are opened by whoever comes later; one that the key service refuses is missed only where it is needed."""
    registry = catalogue.installed().registry
    process = Process(name="volume.backup", data_dir=kms.data_dir, registry=registry, bus=kms.bus, options={})
    chosen = KeySettings(kms_key=ALIAS, gateway_url=kms.url)
    kept = store.open_store(str(tmp_path / "backups"))
    running, by_hand, later = (opened(kept, Keyring()) for _ in range(3))
    await keys.unlock(process, running, chosen, making=True)
    running.add(batches(30))
    first = running.keyring.current
    following = asyncio.create_task(keys.follow(process, running, chosen, every_s=0.05))
    try:
        by_hand.refresh()
        await keys.unlock(process, by_hand, KeySettings(gateway_url=kms.url))
        made = await keys.rotate(process, by_hand, KeySettings(gateway_url=kms.url), reencrypt=True)

        def taken() -> bool:
            current = running.keyring.current
            return current is not None and current.id == made.id and running.keyring.reencrypt

        await eventually(taken, "the one that runs has the new key")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    running.add(batches(30, first_lsn=61))
    await keys.unlock(process, later, chosen)
    later.refresh()
    assert len(records(later)) == 120
    assert first is not None
    assert verifying.verify(later).keys == {first.id: 1, made.id: 1}
    assert reencrypted(later) == 1

    decrypt = custody.Custodian.decrypt

    async def refusing(custodian: custody.Custodian, blob: bytes) -> bytes:
        if blob == first.blob:
            raise custody.KeyRefusedError("the key is disabled")
        return await decrypt(custodian, blob)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(custody.Custodian, "decrypt", refusing)
        alone = opened(kept, Keyring())
        await keys.unlock(process, alone, chosen)
    assert len(records(alone)) == 120
    assert snapshots.page_bytes(alone) == 0
