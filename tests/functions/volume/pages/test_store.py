"""Layers and the pages that are read from them, beside a plain model that keeps every version."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.functions.volume.pages.model import PAGE_BYTES, Model
from tests.simulation.lossy import LossyDisk

from sixfold_functions.volume import files
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import KeyMissingError, Keyring
from sixfold_functions.volume.pages.layer import LayerDamagedError
from sixfold_functions.volume.pages.store import PageStore

FOLDER = Path("/copy/pages")


KEY, OTHER_KEY = (DataKey(kms_key="", blob=bytes([number]), plaintext=bytes([number]) * 32) for number in (1, 2))


def store_on(disk: LossyDisk, keyring: Keyring | None = None) -> PageStore:
    """With tiny limits, so that a few hundred commits fill many layers."""
    store = PageStore(
        disk,
        FOLDER,
        label="copy a1",
        page_bytes=PAGE_BYTES,
        keyring=keyring,
        tail_bytes_max=3_000,
        image_bytes_min=6_000,
    )
    store.open()
    return store


def feed(store: PageStore, model: Model) -> None:
    """All that the store has not got yet."""
    for entry, records in model.entries:
        if entry.first_lsn == store.lsn + 1:
            store.feed(entry, records)


def newest(store: PageStore, model: Model) -> list[pages.Change]:
    """What the store has not got."""
    return [
        change
        for entry, records in model.entries
        if entry.first_lsn > store.lsn
        for change in pages.changes(entry.first_lsn, records)
    ]


def check(store: PageStore, model: Model, rng: random.Random) -> None:
    """At points that are kept, every page is the model's."""
    points = [lsn for lsn in model.versions if lsn >= max(store.readable_from_lsn, 1)]
    rest = newest(store, model)
    for at in {*rng.sample(points, min(len(points), 4)), points[-1]}:
        assert store.size(at, rest) == model.versions[at][0]
        for page in range(42):
            assert store.read(page, at, rest) == model.page(page, at), (page, at)


@pytest.mark.parametrize("seed", range(8))
def test_every_page_is_right_at_every_kept_point_through_flushes_merges_and_power_losses(seed: int) -> None:
    """Commits, steps of work, a low-water mark that rises, restarts with and without power, in any order."""
    rng, disk = random.Random(seed), LossyDisk()
    model = Model(rng)
    keyring = Keyring(current=KEY, entropy=rng.randbytes) if seed % 2 else Keyring()
    store = store_on(disk, keyring)
    for _ in range(400):
        model.write()
        if rng.random() < 0.8:
            feed(store, model)
        for _ in range(rng.choice([0, 1, 5])):
            store.work()
        if rng.random() < 0.1:
            store.low_water_lsn = max(store.low_water_lsn, model.lsn - rng.randrange(200))
        if rng.random() < 0.03:
            kept, low_water_lsn = store.layered_lsn, store.low_water_lsn
            if rng.random() < 0.5:
                disk.lose_power(rng)
            else:
                store.close()
            store = store_on(disk, keyring)
            store.low_water_lsn = low_water_lsn
            assert store.lsn >= kept, "a finished layer is kept"
        if rng.random() < 0.05:
            check(store, model, rng)
    feed(store, model)
    while store.work():
        pass
    check(store, model, rng)
    assert store.readable_from_lsn > 0, "no image was ever made"


def test_what_is_kept_and_what_is_written_are_bounded(tmp_path: Path) -> None:
    """A few pages that change again and again: layers as large as the pages and some changes, few bytes rewritten."""
    disk = LossyDisk()
    model, store = Model(random.Random(1)), store_on(disk)
    taken = 0
    for _ in range(3_000):
        model.write(pages_max=20)
        taken += sum(map(len, model.entries[-1][1]))
        feed(store, model)
        store.low_water_lsn = model.lsn
        store.work()
    while store.work():
        pass
    names = [name for name in disk.names(FOLDER) if name.endswith(".layer")]
    assert sum(disk.size(FOLDER / name) for name in names) < 40_000
    assert len(names) < 12
    assert store.written_bytes < 10 * taken


def test_one_damaged_byte_anywhere_in_a_layer_is_found_when_it_is_read() -> None:
    """At the start, or when the block is read; the layer's pages are never wrong."""
    model, disk = Model(random.Random(2)), LossyDisk()
    store = store_on(disk)
    while not disk.names(FOLDER):
        model.write()
        feed(store, model)
        store.work()
    while store.work():
        pass
    store.close()
    name = disk.names(FOLDER)[0]
    path = FOLDER / name
    found = 0
    for position in range(0, disk.size(path), 7):
        disk.damage(path, position)
        store = store_on(disk)
        if store.layered_lsn == 0:  # it was taken away
            found += 1
        else:
            rest = newest(store, model)
            try:
                for page in range(42):
                    assert store.read(page, model.lsn, rest) == model.page(page, model.lsn)
                list(store._deltas[0].scan())
            except LayerDamagedError:
                found += 1
        if disk.names(FOLDER):
            store.close()
            disk.damage(path, position)
        else:
            feed(store, model)
            while store.work():
                pass
            check(store, model, random.Random(0))
            store.close()
            assert disk.names(FOLDER)
            path = FOLDER / disk.names(FOLDER)[0]
    assert found > 20


def test_a_full_disk_and_a_failed_sync_are_the_copys_own_errors() -> None:
    """Which end its process, with a message."""
    model = Model(random.Random(3))
    for fault in ("full", "sync"):
        disk = LossyDisk()
        store = store_on(disk)
        if fault == "full":
            disk.room_bytes = 1_000
        else:
            disk.sync_error = OSError(5, "Input/output error")
        for _ in range(100):
            model.write()
        with pytest.raises(files.LogFailedError):
            feed(store, model)


def test_a_page_of_zeros_and_a_page_beyond_the_end() -> None:
    """The first was never written, the second is not there."""
    model = Model(random.Random(4))
    model.size = 3
    model.commit([pages.size_record(3)])
    store = store_on(LossyDisk())
    feed(store, model)
    assert store.read(2, model.lsn) == bytes(PAGE_BYTES)
    assert store.read(3, model.lsn) == b""


def test_layers_under_an_older_data_key_are_written_anew() -> None:
    """Pages in plain come under the key, then under another one; in no file is a byte of a page, or an older key."""
    disk, marker = LossyDisk(), b"a page's own words, " * 20
    keyring = Keyring()
    store = store_on(disk, keyring)
    model = Model(random.Random(6))
    model.size = 40
    model.commit([pages.size_record(40)])
    for number in range(40):
        content = (marker + bytes([number])).ljust(PAGE_BYTES, b"\0")
        model.current[number] = content
        model.commit([pages.change_record(number, None, content)[0]])
        feed(store, model)
        while store.work():
            pass

    def written() -> bytes:
        return b"".join(disk.open(FOLDER / name).read_at(0, 1 << 20) for name in disk.names(FOLDER))

    plain = pages.change_record(0, None, model.current[0])[0][pages.HEAD_BYTES :]
    assert plain in written()
    for key in (KEY, OTHER_KEY):
        keyring.use(key, reencrypt=True)
        while store.work():
            pass
        assert plain not in written()
        store.close()
        store = store_on(disk, Keyring([key]))
        assert store.layered_lsn > 20
        feed(store, model)
        check(store, model, random.Random(0))
        store.close()
        store = store_on(disk, keyring)
    with pytest.raises(KeyMissingError, match="data key"):
        store_on(disk, Keyring([KEY]))
