"""A volume's backup as objects: adding, merging, reading; whatever store it is and whatever fails."""

from __future__ import annotations

import random
import zlib

import msgspec
import pytest
from tests.functions.volume.backup.making import (
    BEGAN_MS,
    DAY_MS,
    E1,
    FlakyStore,
    archive_of,
    batches,
    records,
)

from sixfold_functions.volume.backup import archive, objects, store
from sixfold_functions.volume.core.backup import Batch, Quiet, Tail
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import KeyMissingError, Keyring


def test_what_is_added_is_there_for_whoever_lists_it() -> None:
    """There is no catalogue: another process finds the same whole, and where it ends."""
    kept = store.MemoryStore()
    archive_of(batches(3), batches(2, first_lsn=7), kept=kept)
    other = archive.Archive(kept, "default")
    other.refresh()
    assert records(other) == [f"record {lsn}".encode() for lsn in range(1, 11)]
    assert other.tail() == Tail(10, E1, BEGAN_MS + 4_000)
    assert archive.volumes(kept) == ["default"]


def test_an_object_ends_at_its_size() -> None:
    """So that little is in memory, and little is sent again."""
    made = archive_of()
    made.add(batches(10), bytes_max=300)
    assert [piece.last_lsn for piece in made.chain.pieces] == [8, 16, 20]


def test_two_that_add_the_same_records_do_no_harm() -> None:
    """Their objects overlap; each record is read once, and the smaller ones go when they merge."""
    kept = store.MemoryStore()
    one, other = archive_of(kept=kept), archive_of(kept=kept)
    one.add(batches(3))
    other.add(batches(5))
    one.add(batches(6, first_lsn=7))
    other.add(batches(4, first_lsn=11))
    one.refresh()
    assert records(one) == [f"record {lsn}".encode() for lsn in range(1, 19)]
    one.compact(retention_ms=DAY_MS)
    assert sorted(piece.last_lsn for piece in one.pieces) == [10, 18]
    assert records(other) == records(one)


def test_merging_keeps_every_record_and_every_time() -> None:
    """More than an hour of seconds, merged every minute: each second finds the same point before and after."""
    made, plain = archive_of(), archive_of()
    for minute in range(0, 4_200, 60):
        made.add(batches(60, first_lsn=2 * minute + 1))
        plain.add(batches(60, first_lsn=2 * minute + 1))
        made.compact(retention_ms=DAY_MS)
    assert len(made.pieces) < 20 < len(plain.pieces)
    assert {piece.level for piece in made.pieces} == {0, 1, 2}
    assert records(made) == records(plain)
    for second in range(0, 4_200, 37):
        at_ms = BEGAN_MS + 1_000 * second
        assert made.find(at_ms) == plain.find(at_ms)
        assert made.find(at_ms).last_lsn == 2 * second + 2


def test_a_moment_before_the_first_record_has_no_point() -> None:
    """A moment between two records has the earlier one's."""
    made = archive_of(batches(3))
    assert made.find(BEGAN_MS - 1).last_lsn == 0
    assert made.find(BEGAN_MS + 1_999).last_lsn == 4


def test_a_moment_within_a_long_append_has_the_point_before_it() -> None:
    """An append of several batches is restored whole or not at all, in whichever object it began."""
    first, second, third = batches(3)
    begun = Batch(second.first_lsn, E1, E1, second.committed_at_ms, [], second.payloads)
    made = archive_of([first], [begun], [third])
    assert made.find(second.committed_at_ms).last_lsn == 2
    assert made.find(third.committed_at_ms).last_lsn == 6


def test_the_newest_word_that_nothing_came_replaces_the_others() -> None:
    """And one that speaks of records which were not taken is not kept."""
    kept = store.MemoryStore()
    made = archive_of(batches(3), kept=kept)
    for until_ms in (BEGAN_MS + 5_000, BEGAN_MS + 9_000, BEGAN_MS + 7_000):
        made.note(Quiet(until_ms, 6))
    made.note(Quiet(BEGAN_MS + 99_000, 7))
    assert made.latest_ms == BEGAN_MS + 9_000
    assert [name for name in kept.objects if "/quiet/" in name] == [f"default/{Quiet(BEGAN_MS + 9_000, 6).name}"]


def test_a_damaged_object_at_the_end_is_taken_anew() -> None:
    """Its records are still in the volume."""
    kept = store.MemoryStore()
    made = archive_of(batches(3), batches(2, first_lsn=7), kept=kept)
    last = f"default/{made.chain.pieces[-1].name}"
    kept.objects[last] = kept.objects[last][:50]
    made.refresh()
    assert made.tail().last_lsn == 6
    made.add(batches(2, first_lsn=7))
    assert len(records(made)) == 10


def test_a_damaged_object_is_no_reason_to_delete_what_it_replaced() -> None:
    """The small ones stay until the large one was read back whole."""
    kept = store.MemoryStore()
    made = archive_of(*(batches(1, first_lsn=2 * n + 1, every_ms=400_000) for n in range(3)), kept=kept)
    larger = objects.Writing("default")
    for batch in batches(3, every_ms=400_000):
        larger.add(batch)
    head, data = larger.done()
    name = head.piece(1).name
    kept.create(f"default/{name}", data[:-1] + bytes([data[-1] ^ 1]))
    made.refresh()
    made.compact(retention_ms=DAY_MS)
    assert len(records(made)) == 6
    assert len(made.pieces) == 4


def test_a_reader_finds_objects_that_are_merged_while_it_reads() -> None:
    """A restore that began before a merge goes on with what replaced them."""
    kept = store.MemoryStore()
    made = archive_of(*(batches(1, first_lsn=2 * n + 1, every_ms=1) for n in range(20)), kept=kept)
    made.add([Batch(41, E1, E1, BEGAN_MS + DAY_MS, [41], [b"later"])])
    reader = archive.Archive(kept, "default")
    reader.refresh()
    reading = reader.batches()
    found = [next(reading)]
    made.compact(retention_ms=7 * DAY_MS)
    found.extend(reading)
    assert [batch.first_lsn for batch in found] == [*range(1, 41, 2), 41]


@pytest.mark.parametrize("seed", range(8))
def test_answers_that_are_lost_lose_no_record(seed: int) -> None:
    """Each call may fail before or after it was carried out; whoever goes on lists what there is."""
    flaky = FlakyStore(random.Random(seed))
    flaky.failing = 0.3
    made = archive.Archive(flaky, "default")
    todo = list(batches(300))
    while made.chain.last_lsn < todo[-1].last_lsn:
        try:
            made.refresh()
            behind = made.tail().last_lsn
            for number in range(behind // 2, len(todo), 7):
                made.add(todo[number : number + 7])
            made.note(Quiet(todo[-1].committed_at_ms + 5_000, todo[-1].last_lsn))
            made.compact(retention_ms=DAY_MS)
        except store.StoreError:
            continue
    assert flaky.failures > 5
    flaky.failing = 0.0
    made.refresh()
    made.compact(retention_ms=DAY_MS)
    assert records(made) == [payload for batch in todo for payload in batch.payloads]


def test_one_block_can_be_read_alone() -> None:
    """A clone reads what it is asked for, not whole objects."""
    made = archive_of()
    big = [Batch(n + 1, E1, E1 if n else 0, BEGAN_MS, [n + 1], [bytes(200_000)]) for n in range(6)]
    made.add(big)
    piece = made.chain.pieces[0]
    head = made.head(piece)
    assert [block.last_lsn for block in head.blocks] == [2, 4, 6]
    assert [batch.first_lsn for batch in made.block(piece, head, head.blocks[1])] == [3, 4]


KEY, OTHER_KEY = (DataKey(kms_key="", blob=bytes([number]), plaintext=bytes([number]) * 32) for number in (1, 2))


def test_an_encrypted_backup_shows_no_record_and_is_read_with_its_keys_only() -> None:
    """Objects from before it had a key come under it when they are merged; without the key nothing is read."""
    kept = store.MemoryStore()
    archive_of(batches(30), kept=kept)
    made = archive.Archive(kept, "default")
    made.keyring = Keyring([KEY], current=KEY)
    made.refresh()
    for minute in range(1, 20):
        made.add(batches(30, first_lsn=60 * minute + 1))
    assert any(b"record 61" in data for data in kept.objects.values()) is False
    made.compact(retention_ms=DAY_MS)
    assert made.chain.pieces[0].level > 0
    assert not [name for name, data in kept.objects.items() if b"record 1" in data]
    expected = [f"record {lsn}".encode() for lsn in range(1, 1_201)]
    assert records(made) == expected
    piece = made.chain.pieces[0]
    head = made.head(piece)
    assert made.block(piece, head, head.blocks[-1])[-1].last_lsn == piece.last_lsn
    with pytest.raises(KeyMissingError, match="does not hold"):
        records(_opened(kept, Keyring([OTHER_KEY])))


@pytest.mark.parametrize("position", [-1, -40, -400])
def test_a_changed_byte_of_an_encrypted_object_is_found_even_with_its_sums_made_right(position: int) -> None:
    """Whoever can write to the store can make a CRC fit, and cannot make the tag fit."""
    kept = store.MemoryStore()
    made = _opened(kept, Keyring([KEY], current=KEY))
    made.add(batches(30))
    [name] = kept.objects
    data = bytearray(kept.objects[name])
    data[position] ^= 1
    head = objects.head_of(bytes(data), name)
    start = objects.head_bytes(bytes(data), name)
    blocks = [
        msgspec.structs.replace(
            block, crc=zlib.crc32(data[start + block.position : start + block.position + block.size])
        )
        for block in head.blocks
    ]
    kept.objects[name] = objects.packed(msgspec.structs.replace(head, blocks=blocks), [bytes(data[start:])])
    with pytest.raises(objects.ObjectDamagedError, match="does not open with the object's key"):
        records(_opened(kept, Keyring([KEY])))


def _opened(kept: store.MemoryStore, keyring: Keyring) -> archive.Archive:
    made = archive.Archive(kept, "default")
    made.keyring = keyring
    made.refresh()
    return made
