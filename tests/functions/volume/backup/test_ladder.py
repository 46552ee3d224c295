"""What a backup takes, which objects make a whole, what is merged and what may go."""

from __future__ import annotations

import msgspec
import pytest
from tests.functions.volume import making as events
from tests.functions.volume.backup.making import BEGAN_MS, DAY_MS, E1, HOUR_MS

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core import backup
from sixfold_functions.volume.core.backup import Piece, Quiet, Tail
from sixfold_functions.volume.core.membership import FIRST

MINUTE_MS = 60_000


def piece(first: int, last: int, *, level: int = 0, ms: int = BEGAN_MS, size: int = 100) -> Piece:
    return Piece(level, first, last, ms, ms + 1, size)


def said(copy: str, lsn: int, heard_ms: int, *, settled: int | None = None, **more: int) -> VolumeCopyAcknowledged:
    """A copy's word that it heard of that stamp."""
    ack = events.ack(copy, lsn, **more)  # type: ignore[arg-type]
    settled = lsn if settled is None else settled
    return VolumeCopyAcknowledged(**{**{f: getattr(ack, f) for f in ack.__struct_fields__}, "heard_ms": heard_ms,
                                     "settled_lsn": settled})  # fmt: skip


def test_a_name_says_what_an_object_holds() -> None:
    """And the names of other files mean nothing."""
    whole = piece(1, 20, level=2, size=7)
    assert backup.piece(whole.name, 7) == whole
    assert backup.quiet(Quiet(5, 20).name) == Quiet(5, 20)
    assert backup.piece("redo/0/notes.txt", 7) is None
    assert backup.quiet(whole.name) is None


def test_names_are_in_the_order_of_records() -> None:
    """A listing of an object store is sorted by name."""
    pieces = [piece(first, first + 9) for first in (1, 11, 101, 1_001, 10_001)]
    assert sorted(pieces, key=lambda each: each.name) == pieces


def test_a_whole_is_made_of_the_largest_objects_and_ends_at_a_gap() -> None:
    """Of objects that overlap the one that reaches furthest is taken."""
    pieces = [piece(1, 10), piece(1, 30, level=1), piece(11, 20), piece(21, 35), piece(36, 40), piece(50, 60)]
    found = backup.chain(pieces)
    assert [(each.first_lsn, each.last_lsn) for each in found.pieces] == [(1, 30), (21, 35), (36, 40)]
    assert (found.last_lsn, found.beyond) == (40, [piece(50, 60)])
    assert backup.chain([piece(5, 9)]).last_lsn == 0


def test_only_what_no_recovery_can_change_is_taken() -> None:
    """A batch that is not durable to its end waits for the next time, as does one behind a gap."""
    stored = [events.batch(1, 2), events.batch(3, 5), events.batch(6, 6)]
    assert [each.last_lsn for each in Tail().taken(stored, 5)] == [2, 5]
    assert [each.last_lsn for each in Tail().taken(stored, 4)] == [2]
    assert [each.last_lsn for each in Tail(2, E1).taken([stored[0], stored[2]], 6)] == []


def test_another_history_under_the_same_name_is_noticed() -> None:
    """A record that does not follow the backup's last one belongs to another volume."""
    with pytest.raises(backup.HistoryError, match="is of epoch 2"):
        list(Tail(2, events.E2).taken([events.batch(3, 5)], 5))


def test_a_quiet_time_is_promised_by_a_quorum_and_by_a_copy_that_lacks_nothing() -> None:
    """Four copies keep later writers above the stamp, and one says up to where the records go."""
    level = [said(copy, 9, 1_000) for copy in ("a1", "a2", "b1", "b2")]
    assert backup.promise(level) == Quiet(999, 9)
    assert backup.promise(level[:3]) is None
    behind = [said(copy, 9, 400) for copy in ("c1", "c2")]
    assert backup.promise([*level[:3], *behind]) == Quiet(399, 9)


def test_while_a_copy_is_replaced_a_quiet_time_needs_a_quorum_of_each_set() -> None:
    """The old copy and the new one are no two of one set; a membership that the asker has not heard of promises nothing."""
    replacing = FIRST.replacing("a2")
    both = [said(copy, 9, 1_000) for copy in ("a2", "a3", "b1", "b2")]
    assert backup.promise(both, membership=replacing) is None
    assert backup.promise([*both, said("c1", 9, 700)], membership=replacing) == Quiet(699, 9)
    newer = [msgspec.structs.replace(each, membership_version=1) for each in both]
    level = [*newer, said("c1", 9, 1_000)]
    assert backup.promise(level, membership=replacing) == Quiet(999, 9)
    assert backup.promise(level) is None


@pytest.mark.parametrize(
    "word",
    [
        said("a1", 9, 1_000, settled=8),
        said("a1", 9, 1_000, missing=(10, 12)),  # type: ignore[arg-type]
        said("a1", 9, 1_000, log_epoch=0),
        said("a1", 9, 1_000, joining=True),
    ],
    ids=["not durable", "a gap", "another history", "lost its log"],
)
def test_a_copy_that_may_lack_a_record_promises_nothing(word: VolumeCopyAcknowledged) -> None:
    """Whatever stamp it heard."""
    others = [said(copy, 9, 1_000, log_epoch=0) for copy in ("a2", "b1", "b2", "c1")]
    assert backup.promise([word, *others]) is None


def test_a_promise_of_an_older_epoch_is_worth_nothing() -> None:
    """Its writer may have been followed by one whose clock is behind."""
    old = [said(copy, 9, 1_000) for copy in ("a1", "a2", "b1", "b2", "c1")]
    assert backup.promise([*old, said("c2", 9, 10, epoch=events.E2)]) is None


def test_the_latest_restorable_time_counts_only_for_what_was_taken() -> None:
    """A record that comes may have the last one's stamp; a promise beyond the whole says nothing yet."""
    whole = backup.chain([piece(1, 10, ms=5_000)])
    assert backup.latest_ms(whole, []) == 5_000
    assert backup.latest_ms(whole, [Quiet(9_000, 10)]) == 9_000
    assert backup.latest_ms(whole, [Quiet(9_000, 11)]) == 5_000
    assert backup.latest_ms(backup.chain([]), []) == 0


def test_neighbours_are_merged_once_their_time_is_over() -> None:
    """Five minutes, then an hour, and days for what is older than the retention."""
    begin = BEGAN_MS // DAY_MS * DAY_MS
    pieces = [piece(n + 1, n + 1, ms=begin + n * MINUTE_MS) for n in range(70)]
    whole = backup.chain(pieces)
    found = backup.merges(whole, begin + 4 * MINUTE_MS, retention_ms=7 * DAY_MS)
    assert found == []
    found = backup.merges(whole, begin + 11 * MINUTE_MS, retention_ms=7 * DAY_MS)
    assert [(each.level, len(each.pieces)) for each in found] == [(1, 5), (1, 5)]
    found = backup.merges(whole, begin + HOUR_MS + 1, retention_ms=7 * DAY_MS)
    assert [(each.level, len(each.pieces)) for each in found] == [(2, 60)]
    found = backup.merges(whole, begin + 9 * DAY_MS, retention_ms=7 * DAY_MS)
    assert [(each.level, len(each.pieces)) for each in found] == [(3, 70)]


def test_objects_are_merged_up_to_a_size() -> None:
    """One that is full already stays as it is."""
    begin = BEGAN_MS // HOUR_MS * HOUR_MS
    pieces = [piece(n + 1, n + 1, ms=begin + n, size=40) for n in range(5)]
    found = backup.merges(backup.chain(pieces), begin + HOUR_MS, retention_ms=DAY_MS, bytes_max=100)
    assert [len(each.pieces) for each in found] == [2, 2]


def test_what_may_go_is_held_by_one_object_of_the_whole() -> None:
    """Nothing that two only hold together."""
    pieces = [piece(1, 30, level=1), piece(31, 60, level=1), piece(1, 10), piece(25, 35), piece(70, 80)]
    whole = backup.chain(pieces)
    assert [(each.first_lsn, holder.last_lsn) for each, holder in backup.superseded(pieces, whole)] == [(1, 30)]
