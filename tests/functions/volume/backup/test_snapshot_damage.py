"""Snapshots that are not what was written: found, named, and nothing is let go for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.volume.backup.making import HOUR_MS
from tests.functions.volume.backup.paged import Lived, restored

from sixfold_functions.volume.backup import archive, objects, snapshots, store, verifying
from sixfold_functions.volume.core import snapshots as deciding
from sixfold_functions.volume.core.backup import Piece

RETENTION_MS = 2 * HOUR_MS


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of forty pages has several batches, so it may have several objects."""
    monkeypatch.setattr(deciding, "BATCH_RECORDS", 4)


def collect(kept: archive.Archive) -> int:
    return snapshots.collect(kept, retention_ms=RETENTION_MS, now_ms=0)


def flip(kept: store.Store, piece: Piece, at: int = -3) -> None:
    assert isinstance(kept, store.MemoryStore)
    data = bytearray(kept.objects[f"default/{piece.name}"])
    data[at] ^= 1
    kept.objects[f"default/{piece.name}"] = bytes(data)


def test_a_damaged_snapshot_lets_nothing_go_and_is_named(tmp_path: Path) -> None:
    """What it would stand for stays, and the next snapshot is made of an older one."""
    lived = Lived(store.MemoryStore())
    for _ in range(8):
        lived.live(30)
        lived.back_up()
        lived.snapshot(tmp_path)
    opened = lived.opened()
    until_ms = opened.latest_ms - RETENTION_MS - deciding.GRACE_MS
    [floor, older, *_] = deciding.floors(opened.snapshots, opened.chain, until_ms, None)
    flip(lived.store, floor.pieces[-1])
    [finding] = [each for each in verifying.verify(lived.opened()).findings if each.object == floor.pieces[-1].name]
    assert "CRC-32 does not fit" in finding.problem
    collect(lived.opened())
    assert lived.opened().chain.base_lsn == older.lsn
    lived.live(5)
    lived.back_up()
    opened = lived.opened()
    flip(lived.store, opened.snapshots[-1].pieces[0])
    maker = snapshots.Maker(opened, tmp_path)
    with pytest.raises(objects.ObjectDamagedError, match="CRC-32 does not fit"):
        maker.make()
    assert maker.make() is not None
    latest_ms = lived.opened().latest_ms
    assert restored(lived.opened(), latest_ms) == lived.truth(latest_ms)


def test_a_snapshot_that_is_another_one_is_found(tmp_path: Path) -> None:
    """Sound in itself, and not what the log makes."""
    lived, other = Lived(store.MemoryStore(), seed=1), Lived(store.MemoryStore(), seed=2)
    for each in (lived, other):
        each.live(50)
        each.back_up()
        each.snapshot(tmp_path)
    mine, [theirs] = lived.opened().snapshots[-1], other.opened().snapshots
    assert isinstance(lived.store, store.MemoryStore)
    assert isinstance(other.store, store.MemoryStore)
    for piece in mine.pieces:
        lived.store.delete(f"default/{piece.name}")
    for piece in theirs.pieces:
        name = piece._replace(snapshot_lsn=mine.lsn).name
        lived.store.objects[f"default/{name}"] = other.store.objects[f"default/{piece.name}"]
    [finding] = verifying.verify(lived.opened()).findings
    assert "is not what the snapshot before it and the log make" in finding.problem


def test_a_snapshot_that_lacks_an_object_does_not_count(tmp_path: Path) -> None:
    """Nor one that ends before its last page: its last object says that it is the last, and its last record as well."""
    lived = Lived(store.MemoryStore())
    lived.live(200)
    lived.back_up()
    lived.snapshot(tmp_path, part_bytes=300)
    [whole] = lived.opened().snapshots
    assert len(whole.pieces) > 2
    assert isinstance(lived.store, store.MemoryStore)
    del lived.store.objects[f"default/{whole.pieces[-1].name}"]
    assert lived.opened().snapshots == []
    cut = whole.pieces[-2]
    lived.store.objects[f"default/{cut._replace(ends=True).name}"] = lived.store.objects.pop(f"default/{cut.name}")
    opened = lived.opened()
    with pytest.raises(objects.ObjectDamagedError, match="ends before its last page"):
        list(snapshots.read(opened, opened.snapshots[-1]))
