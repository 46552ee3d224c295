"""What every object store must do for a backup, each of them asked the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.functions.volume.backup.making import DAY_MS, archive_of, batches, records

from sixfold import errors
from sixfold_functions.volume.backup import archive, store
from sixfold_functions.volume.backup.store import Item


def test_a_new_object_is_written_once(kept: store.Store) -> None:
    """Whoever comes second learns that it is there, and changes nothing."""
    assert kept.create("a/b/one", b"first")
    assert not kept.create("a/b/one", b"second")
    assert kept.read("a/b/one") == b"first"


def test_a_part_of_an_object_can_be_read(kept: store.Store) -> None:
    """And less where the object ends."""
    kept.create("a/one", b"0123456789")
    assert kept.read("a/one", 2, 3) == b"234"
    assert kept.read("a/one", 8, 30) == b"89"


def test_objects_are_listed_by_folder_in_order(kept: store.Store) -> None:
    """A folder's name is meant whole."""
    for name in ("b/2", "b/1", "a/1", "bb/1"):
        kept.create(name, b"data")
    assert kept.names("b") == [Item("b/1", 4), Item("b/2", 4)]
    assert [item.name for item in kept.names()] == ["a/1", "b/1", "b/2", "bb/1"]
    assert kept.names("c") == []


def test_an_object_can_be_replaced_and_deleted(kept: store.Store) -> None:
    """Deleting what is not there does nothing; reading it says so."""
    kept.create("a/one", b"first")
    kept.replace("a/one", b"second")
    assert kept.read("a/one") == b"second"
    kept.delete("a/one")
    kept.delete("a/one")
    assert kept.names() == []
    for size in (None, 5):
        with pytest.raises(store.ObjectMissingError, match="has no object a/one"):
            kept.read("a/one", 0, size)


def test_a_backup_lives_in_any_of_them(kept: store.Store) -> None:
    """Added to, merged, and read back by somebody who has nothing but the store."""
    made = archive_of(*(batches(10, first_lsn=20 * n + 1, every_ms=20_000) for n in range(4)), kept=kept)
    assert made.compact(retention_ms=DAY_MS) > 0
    other = archive.Archive(kept, "default")
    other.refresh()
    assert records(other) == [f"record {lsn}".encode() for lsn in range(1, 81)]
    assert archive.volumes(kept) == ["default"]


def test_a_folder_keeps_what_it_returned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is synced before it has its name, and its name before anybody hears of it."""
    happened: list[str] = []
    sync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        happened.append("sync " + ("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "object"))
        sync(descriptor)

    def linked(source: Path, target: Path) -> None:
        happened.append("link")
        link(source, target)

    kept = store.open_store(str(tmp_path))
    kept.create("a/first", b"")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    kept.create("a/second", b"data")
    assert happened == ["sync object", "link", "sync folder"]


def test_what_a_killed_process_left_half_written_is_not_listed(tmp_path: Path) -> None:
    """Objects are written under names that no listing shows."""
    kept = store.open_store(str(tmp_path))
    kept.create("a/one", b"data")
    (tmp_path / "a" / "two#12345").write_bytes(b"da")
    assert kept.names() == [Item("a/one", 4)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/x", "expected a folder or a URL"),
        ("s3://key:secret@bucket/x", "holds no credentials"),
        ("az://container/x", "cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_its_secrets(url: str, said: str) -> None:
    """The message can be shown to anybody."""
    with pytest.raises(errors.UsageError, match=said) as caught:
        store.open_store(url)
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    """With what to look at."""
    with pytest.raises(store.StoreError, match="s3://nobody-has-it/x: expected to list"):
        store.open_store("s3://nobody-has-it/x").names()
