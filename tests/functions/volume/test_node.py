"""A storage copy's protocol: what counts, what is fenced, what it may say."""

from __future__ import annotations

from tests.functions.volume.making import E1, E2, E3, batch, bump, truncation

from sixfold_functions.volume.core.node import Redo, StorageNode


def node(*events: Redo) -> StorageNode[int]:
    """A copy that read these."""
    made: StorageNode[int] = StorageNode("default", "a1")
    made.start(1)
    for place, event in enumerate(events):
        made.take(event, place)
    return made


FRESH = (bump(E1), truncation(E1, 0, source=0))


def test_a_contiguous_prefix_counts_and_an_island_does_not() -> None:
    """The SCL stops at a gap, says which records are missing, and jumps once they come."""
    copy = node(*FRESH, batch(1, 2), batch(5, 6), batch(7, 7))
    said = copy.acknowledgement()
    assert (said.complete_lsn, said.missing_first_lsn, said.missing_last_lsn) == (2, 3, 4)
    copy.take(batch(3, 4), 9)
    said = copy.acknowledgement()
    assert (said.complete_lsn, said.missing_last_lsn) == (7, 0)


def test_an_empty_batch_tells_of_records_that_never_came() -> None:
    """Without another append the copy still learns that it lacks the last one."""
    copy = node(*FRESH, batch(1, 2), batch(5, 4, points=[]))
    assert copy.acknowledgement().missing_first_lsn == 3
    assert copy.acknowledgement().missing_last_lsn == 4


def test_records_of_an_older_epoch_are_ignored_after_a_bump() -> None:
    """A zombie writer's late records are dead by position, and are not stored."""
    copy = node(*FRESH, batch(1, 2), bump(E2))
    assert copy.take(batch(3, 3), 9) is False
    assert copy.acknowledgement().complete_lsn == 2
    assert copy.acknowledgement().epoch == E2


def test_a_copy_counts_for_a_new_epoch_only_with_all_that_it_began_with() -> None:
    """Between bump and the last missing record its word is for the old epoch's volume."""
    copy = node(*FRESH, batch(1, 2), bump(E2))
    assert copy.acknowledgement().log_epoch == E1
    copy.take(truncation(E2, 4, source=E1), 9)
    said = copy.acknowledgement()
    assert (said.log_epoch, said.missing_first_lsn, said.missing_last_lsn) == (E1, 3, 4)
    copy.take(batch(3, 4, epoch=E2, origin=E1), 10)
    assert copy.acknowledgement().log_epoch == E2
    assert copy.acknowledgement().complete_lsn == 4


def test_a_truncation_annuls_what_lies_above() -> None:
    """Records beyond the recovery point are gone, and their LSNs are given anew."""
    copy = node(*FRESH, batch(1, 2), batch(3, 5), bump(E2), truncation(E2, 2, source=E1))
    assert copy.acknowledgement().complete_lsn == 2
    copy.take(batch(3, 3, epoch=E2, back=E1), 9)
    assert copy.acknowledgement().complete_lsn == 3
    assert next(copy.prefix.between(3, 3)).origin_epoch == E2


def test_records_that_may_be_durable_stay_until_what_replaces_them_is_here() -> None:
    """A recovery that dies after its truncation took nothing from a copy that does not share its source's history.

    Found by the world's test: the copy's records were durable, and it did not know.
    """
    copy = node(*FRESH, batch(1, 2), bump(E3), truncation(E3, 5, source=E2))
    assert copy.acknowledgement().complete_lsn == 2
    assert copy.acknowledgement().missing_first_lsn == 1
    copy.take(batch(1, 2, epoch=E3, origin=E1), 10)
    copy.take(batch(3, 5, epoch=E3, origin=E2, back=E1), 11)
    said = copy.acknowledgement()
    assert (said.log_epoch, said.complete_lsn) == (E3, 5)


def test_only_durable_records_are_kept_of_another_history() -> None:
    """Above what it knows to be durable a copy takes the source's records in place of its own."""
    copy = node(*FRESH, batch(1, 2), batch(3, 4, vdl=2), bump(E3), truncation(E3, 3, source=E2))
    copy.take(batch(3, 3, epoch=E3, origin=E2, back=E1), 9)
    assert copy.acknowledgement().complete_lsn == 3
    assert [entry.origin_epoch for entry in copy.prefix.between(1, 3)] == [E1, E2]


def test_a_batch_with_another_history_below_it_does_not_count() -> None:
    """The backlink names the origin of the record before; a mismatch is a gap, never a connection."""
    copy = node(*FRESH, batch(1, 2), batch(3, 3, back=E3))
    assert copy.acknowledgement().complete_lsn == 2
    assert copy.acknowledgement().missing_first_lsn == 3


def test_a_batch_of_an_unknown_newer_epoch_fences_but_does_not_count() -> None:
    """Where the broker lost a bump and a truncation, the copy waits for them to be sent again."""
    copy = node(*FRESH, batch(1, 2), batch(3, 3, epoch=E2, back=E1))
    said = copy.acknowledgement()
    assert (said.epoch, said.log_epoch, said.complete_lsn) == (E2, E1, 2)
    copy.take(truncation(E2, 2, source=E1), 9)
    said = copy.acknowledgement()
    assert (said.log_epoch, said.complete_lsn) == (E2, 3)


def test_what_is_read_twice_changes_nothing() -> None:
    """Duplicates are not stored again."""
    events = (*FRESH, batch(1, 2), batch(3, 4))
    copy = node(*events)
    assert [copy.take(event, 9) for event in events] == [False] * 4
    assert copy.acknowledgement().complete_lsn == 4


def test_a_reader_gets_durable_records_only() -> None:
    """A copy reads out what the reader or itself knows to be durable, never what recovery may annul."""
    copy = node(*FRESH, batch(1, 2), batch(3, 4, vdl=2))
    assert copy.readable_lsn(0, 0) == 2
    assert copy.readable_lsn(E1, 3) == 3
    assert copy.readable_lsn(E2, 4) == 2, "of a newer epoch's volume it cannot tell"


def test_a_consistency_point_is_the_end_of_an_append() -> None:
    """A batch in the middle of a large append moves the SCL, not what can be durable."""
    copy = node(*FRESH, batch(1, 2), batch(3, 4, points=[]))
    assert copy.acknowledgement().complete_lsn == 4
    assert copy.acknowledgement().consistent_lsn == 2
