"""A storage copy's protocol: what counts, what is fenced, what it may say."""

from __future__ import annotations

import msgspec
from tests.functions.volume.making import E1, E2, E3, admission, batch, bump, truncation

from sixfold_events.volume import VolumeRedoBatch
from sixfold_functions.volume.core.node import Redo, StorageNode
from sixfold_functions.volume.core.prefix import ISLANDS_MAX
from sixfold_functions.volume.core.state import NodeState


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
    kept = [*copy.prefix.take_released(), *copy.prefix.between(1, 3)]
    assert [(entry.first_lsn, entry.origin_epoch) for entry in kept] == [(1, E1), (3, E2)]


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


def test_what_is_durable_of_another_history_need_not_wait_for_the_rest() -> None:
    """A copy far behind takes over what is sure, as soon as that replaces all it has itself, and nothing before."""
    copy = node(*FRESH, batch(1, 2), batch(3, 5), bump(E3), truncation(E3, 99, source=E2))
    for place, (event, complete) in enumerate(
        [
            (batch(1, 2, epoch=E3, origin=E1), 5),
            (batch(3, 6, epoch=E3, origin=E2, back=E1, vdl=2), 5),  # 3 to 5 of its own may be durable
            (batch(7, 8, epoch=E3, origin=E2, vdl=6), 6),
            (batch(9, 9, epoch=E3, origin=E2, vdl=6), 6),  # 7 to 9 are not sure
            (batch(10, 10, epoch=E3, origin=E2, vdl=9), 9),
        ]
    ):
        assert copy.take(event, place)
        assert copy.acknowledgement().complete_lsn == complete
    said = copy.acknowledgement()
    assert (said.log_epoch, said.settled_lsn, said.missing_first_lsn) == (E1, 9, 11)
    copy.take(truncation(E3, 99, source=E2), 50)
    copy.take(bump(E3 + 1), 51)
    copy.take(truncation(E3 + 1, 99, source=E2), 52)
    assert copy.acknowledgement().missing_first_lsn == 10, "the next writer does not begin anew"


def test_a_copy_holds_only_what_may_still_change() -> None:
    """However long the volume, a copy's memory has what is not durable yet, and a bounded number beyond a gap."""
    copy = node(*FRESH)
    for lsn in range(1, 10_001):
        copy.take(batch(lsn, lsn, vdl=max(lsn - 3, 0)), lsn)
    released = copy.prefix.take_released()
    assert [entry.first_lsn for entry in released] == list(range(1, 9998))
    assert len(copy.state().prefix.entries) == 3
    filling = node(*FRESH, bump(E2), truncation(E2, 20_000, source=E1))
    for lsn in range(1, 10_001):
        filling.take(batch(lsn, lsn, epoch=E2, origin=E1, vdl=max(lsn - 3, 0)), lsn)
    assert len(filling.prefix.take_released()) == 9997
    assert len(filling.state().prefix.staged) == 3
    for lsn in range(30_001, 30_001 + 2 * ISLANDS_MAX):
        filling.take(batch(lsn, lsn, epoch=E2), lsn)
    assert len(filling.state().prefix.islands) == ISLANDS_MAX
    assert filling.acknowledgement().missing_first_lsn == 10_001


def test_a_batch_beyond_a_gap_that_is_let_go_is_missed_later() -> None:
    """What there was no room for is a gap like any other, once the one before it is closed."""
    copy = node(*FRESH)
    for lsn in range(2, ISLANDS_MAX + 10):
        copy.take(batch(lsn, lsn), lsn)
    copy.take(batch(1, 1), 9)
    said = copy.acknowledgement()
    assert said.complete_lsn == ISLANDS_MAX + 1
    assert (said.missing_first_lsn, said.missing_last_lsn) == (ISLANDS_MAX + 2, ISLANDS_MAX + 9)


def joined() -> StorageNode[int]:
    """A copy that lost its log, at its third start."""
    copy: StorageNode[int] = StorageNode("default", "a1")
    copy.start(3)
    copy.join()
    return copy


def test_a_copy_that_lost_its_log_does_not_count_until_it_holds_all_that_was_given_out() -> None:
    """Filled, then admitted, then level: only the three together."""
    copy = joined()
    copy.take(truncation(E2, 2, source=E1), 0)
    copy.take(batch(1, 2, epoch=E2, origin=E1), 1)
    said = copy.acknowledgement()
    assert (said.log_epoch, said.complete_lsn, said.missing_last_lsn, said.joining) == (E2, 2, 0, True)
    assert copy.take(admission(4, epoch=E2, incarnation=3), 2)
    said = copy.acknowledgement()
    assert (said.missing_first_lsn, said.missing_last_lsn, said.joining) == (3, 4, True)
    copy.take(batch(3, 3, epoch=E2, back=E1), 3)
    assert copy.acknowledgement().joining
    copy.take(batch(4, 4, epoch=E2), 4)
    assert not copy.acknowledgement().joining


def test_an_admission_counts_only_for_the_start_and_the_epoch_that_it_was_meant_for() -> None:
    """One from before the loss, for another copy, or of an older writer says nothing of what this copy lost."""
    copy = joined()
    copy.take(truncation(E2, 0, source=0), 0)
    assert not copy.take(admission(0, epoch=E2, incarnation=2), 1)
    assert not copy.take(admission(0, epoch=E2, incarnation=3, copy="a2"), 2)
    assert not copy.take(admission(0, epoch=E1, incarnation=3), 3)
    assert copy.joining
    copy.take(admission(5, epoch=E2, incarnation=4), 4)
    copy.take(truncation(E3, 0, source=E2), 5)
    copy.take(batch(1, 5, epoch=E3), 6)
    assert copy.joining, "the next writer has to say it again"


def test_a_recovery_that_annuls_durable_records_is_not_obeyed() -> None:
    """It can only be one that heard of too few: the copy keeps its records and says so."""
    copy = node(*FRESH, batch(1, 2), batch(3, 4, vdl=2), batch(5, 5, vdl=4), bump(E2))
    assert copy.take(truncation(E2, 3, source=E1), 9) is False
    assert copy.annulled is not None
    assert copy.acknowledgement().complete_lsn == 5
    late = node(*FRESH, batch(1, 2), batch(3, 4, vdl=2))
    late.take(truncation(E1, 0, source=0), 9)
    assert late.annulled is None, "the beginning of its own epoch is old news"


def test_a_copy_restored_from_its_state_is_the_same_copy() -> None:
    """Prefix, islands, a branch and an admission that is not fulfilled are all in a checkpoint."""
    copy = joined()
    first: tuple[Redo, ...] = (*FRESH, batch(1, 2), batch(3, 4, vdl=2), batch(7, 8), bump(E3))
    second: tuple[Redo, ...] = (
        truncation(E3, 9, source=E2),
        batch(3, 3, epoch=E3, origin=E2, back=E1),
        batch(6, 7, epoch=E3, back=E2),
        admission(12, epoch=E3, incarnation=3),
    )
    for place, event in enumerate((*first, *second)):
        copy.take(event, place)
    copy.prefix.take_released()
    stored = msgspec.json.encode(copy.state())
    again: StorageNode[int] = StorageNode("default", "a1")
    again.restore(msgspec.json.decode(stored, type=NodeState[int]))
    assert again.state() == copy.state()
    said = copy.acknowledgement()
    again.start(3)
    assert msgspec.structs.replace(again.acknowledgement(), sequence=said.sequence) == said
    for made in (copy, again):
        made.take(batch(4, 5, epoch=E3, origin=E2), 20)
        made.take(batch(8, 12, epoch=E3), 21)
        assert not made.acknowledgement().joining
    assert again.state() == copy.state()


def test_a_copy_keeps_the_highest_stamp_that_it_stored() -> None:
    """Of records, and of a quiet writer's promises; what it does not store leaves none behind."""
    copy = node(*FRESH, stamped(batch(1, 2), 50))
    assert copy.take(stamped(batch(1, 2), 60), 9) is False  # known
    assert copy.acknowledgement().clock_ms == 50
    assert copy.take(stamped(batch(3, 2, points=[]), 70), 9) is True
    assert copy.take(stamped(batch(3, 2, points=[]), 65), 9) is False
    assert copy.acknowledgement().clock_ms == 70
    copy.take(bump(E2), 10)
    assert (copy.acknowledgement().clock_ms, copy.acknowledgement().heard_ms) == (70, 0)


def stamped(event: VolumeRedoBatch, committed_at_ms: int) -> VolumeRedoBatch:
    return msgspec.structs.replace(event, committed_at_ms=committed_at_ms)


def test_the_low_water_mark_rises_with_what_is_stored_and_comes_back_from_a_checkpoint() -> None:
    """It never goes back, neither by a batch that comes late nor by a new writer that counted no reader yet."""
    copy = node(*FRESH, batch(1, 5, low=0), batch(6, 6, vdl=5, low=4))
    assert copy.low_water_lsn == 4
    assert copy.take(batch(6, 6, vdl=5, low=5), 9) is False
    assert copy.low_water_lsn == 4, "what is not stored leaves nothing behind"
    copy.take(batch(7, 7, vdl=6, low=2), 9)
    copy.take(bump(E2), 10)
    copy.prefix.take_released()
    again: StorageNode[int] = StorageNode("default", "a1")
    again.restore(copy.state())
    assert again.low_water_lsn == 4
