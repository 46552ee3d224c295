"""Each kind of damage to a backup is named; what is sound is not complained of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.functions.volume.backup.making import BEGAN_MS, DAY_MS, E1, E2, archive_of, batches

from sixfold_functions.volume.backup import archive, objects, store, verifying
from sixfold_functions.volume.core.backup import Batch, Quiet


def backed_up() -> tuple[store.MemoryStore, list[str]]:
    """A backup of four objects, and their names in the order of LSNs."""
    kept = store.MemoryStore()
    made = archive_of(*(batches(5, first_lsn=10 * n + 1) for n in range(4)), kept=kept)
    return kept, [f"default/{piece.name}" for piece in made.chain.pieces]


def verified(kept: store.Store) -> verifying.Verified:
    return verifying.verify(archive.Archive(kept, "default"))


def test_a_sound_backup_has_nothing_to_complain_of() -> None:
    """Merged or not, backed up twice or once."""
    kept, _ = backed_up()
    other = archive_of(kept=kept)
    other.add(batches(3, first_lsn=41))
    other.note(Quiet(BEGAN_MS + DAY_MS, 46))
    found = verified(kept)
    assert (found.findings, found.last_lsn, found.objects) == ([], 46, 5)
    other.compact(retention_ms=DAY_MS)
    assert (verified(kept).findings, verified(kept).objects) == ([], 1)


def flipped(kept: store.MemoryStore, name: str, position: int) -> None:
    data = bytearray(kept.objects[name])
    data[position] ^= 0x10
    kept.objects[name] = bytes(data)


def flip_block(kept: store.MemoryStore, names: list[str]) -> None:
    flipped(kept, names[1], len(kept.objects[names[1]]) - 5)


def flip_head(kept: store.MemoryStore, names: list[str]) -> None:
    flipped(kept, names[1], objects.PRELUDE_BYTES + 12)


def flip_magic(kept: store.MemoryStore, names: list[str]) -> None:
    flipped(kept, names[1], 2)


def truncate(kept: store.MemoryStore, names: list[str]) -> None:
    kept.objects[names[1]] = kept.objects[names[1]][:-20]


def truncate_head(kept: store.MemoryStore, names: list[str]) -> None:
    kept.objects[names[1]] = kept.objects[names[1]][:60]


def empty(kept: store.MemoryStore, names: list[str]) -> None:
    kept.objects[names[1]] = b""


def lengthen(kept: store.MemoryStore, names: list[str]) -> None:
    kept.objects[names[1]] += b"x"


def drop(kept: store.MemoryStore, names: list[str]) -> None:
    del kept.objects[names[1]]


def drop_first(kept: store.MemoryStore, names: list[str]) -> None:
    del kept.objects[names[0]]


def swap(kept: store.MemoryStore, names: list[str]) -> None:
    kept.objects[names[1]], kept.objects[names[2]] = kept.objects[names[2]], kept.objects[names[1]]


def of_another_volume(kept: store.MemoryStore, names: list[str]) -> None:
    other = store.MemoryStore()
    made = archive.Archive(other, "other")
    made.refresh()
    made.add(batches(20))
    kept.objects[names[1]] = next(iter(other.objects.values()))


def _rewritten(kept: store.MemoryStore, name: str, found: list[Batch]) -> None:
    """Whole and well summed, with other content: what a bug or a forger writes."""
    writing = objects.Writing("default")
    for batch in found:
        writing.add(batch)
    kept.objects[name] = writing.done()[1]


def skip_records(kept: store.MemoryStore, names: list[str]) -> None:
    found = list(batches(5, first_lsn=11))
    _rewritten(kept, names[1], [*found[:2], *found[3:]])


def turn_time_back(kept: store.MemoryStore, names: list[str]) -> None:
    found = list(batches(5, first_lsn=11))
    early = Batch(found[2].first_lsn, E1, E1, BEGAN_MS, [], found[2].payloads)
    _rewritten(kept, names[1], [*found[:2], early, *found[3:]])


def cut_an_epoch(kept: store.MemoryStore, names: list[str]) -> None:
    found = list(batches(5, first_lsn=11))
    other = Batch(found[2].first_lsn, E1, E2, found[2].committed_at_ms, [], found[2].payloads)
    _rewritten(kept, names[1], [*found[:2], other, *found[3:]])


def another_history(kept: store.MemoryStore, names: list[str]) -> None:
    first, *others = batches(5, first_lsn=11)
    _rewritten(kept, names[1], [Batch(11, E1, E2, first.committed_at_ms, [], first.payloads), *others])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_block, "the CRC-32 does not fit"),
        (flip_head, "its head has changed; the SHA-256 does not fit"),
        (flip_magic, "expected it to begin with S6BACKUP"),
        (truncate, "the block of LSN 11 to 20 was cut off"),
        (truncate_head, "its head was cut off"),
        (empty, "found 0: it was cut off"),
        (lengthen, "bytes, found"),
        (drop, "LSN 11 to 20 are in no sound object before it"),
        (drop_first, "LSN 1 to 10 are in no sound object before it"),
        (swap, "it is another object's content"),
        (of_another_volume, "expected records of volume default, found those of other"),
        (skip_records, "LSN 17 comes after LSN 14, expected LSN 15"),
        (turn_time_back, "LSN 15 was committed at"),
        (cut_an_epoch, "follows one of epoch 2"),
        (another_history, "follows a record of epoch 2"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_damage_is_named(damage: Callable[[store.MemoryStore, list[str]], None], said: str) -> None:
    """With the object, and with what cannot be restored because of it."""
    kept, names = backed_up()
    damage(kept, names)
    found = verified(kept).findings
    assert any(said in each.problem for each in found), found
    whole = ("follows a record of epoch",)
    assert said.startswith(whole) or verified(kept).last_lsn < 40


def test_a_lost_end_is_noticed_by_the_word_that_speaks_of_it() -> None:
    """The newest object is gone, and a listing alone would not show it."""
    kept, names = backed_up()
    archive_of(kept=kept).note(Quiet(BEGAN_MS + DAY_MS, 40))
    del kept.objects[names[3]]
    found = verified(kept).findings
    assert [each.problem for each in found] == ["says that records up to LSN 40 were taken; the newest are missing"]


def test_two_objects_that_contradict_each_other_are_noticed() -> None:
    """A larger object must have the same records as those it was made of."""
    kept, _ = backed_up()
    found = list(batches(10))
    other = Batch(5, E1, E1, found[2].committed_at_ms, found[2].consistency_points, [b"other", b"records"])
    writing = objects.Writing("default")
    for batch in [*found[:2], other, *found[3:]]:
        writing.add(batch)
    head, data = writing.done()
    kept.objects[f"default/{head.piece(1).name}"] = data
    assert any("has other records than another object" in each.problem for each in verified(kept).findings)


def test_a_stranger_among_the_objects_is_noticed() -> None:
    """Somebody put it there."""
    kept, _ = backed_up()
    kept.create("default/redo/notes.txt", b"hello")
    assert [each.object for each in verified(kept).findings] == ["redo/notes.txt"]
