"""When a snapshot is due, and with what a chain of objects begins."""

from __future__ import annotations

import pytest
from tests.functions.volume.backup.making import DAY_MS

from sixfold_functions.volume.core import backup
from sixfold_functions.volume.core import snapshots as deciding
from sixfold_functions.volume.core.backup import Piece, Snapshot


def whole(*sizes: int, base: Snapshot | None = None, every_ms: int = 1_000) -> backup.Chain:
    first = base.lsn + 1 if base is not None else 1
    began = base.at_ms if base is not None else 0
    pieces = [
        Piece(0, first + n, first + n, began + n * every_ms, began + n * every_ms, size) for n, size in enumerate(sizes)
    ]
    return backup.Chain(pieces, [], base)


def snapshot(lsn: int, at_ms: int, size: int) -> Snapshot:
    return Snapshot(lsn, at_ms, [Piece(0, 1, 10, at_ms, at_ms, size, lsn, True)])


@pytest.mark.parametrize(
    ("found", "newest", "is_due"),
    [
        (whole(), None, False),
        (whole(99), None, False),
        (whole(60, 40), None, True),
        (whole(1, 1, every_ms=DAY_MS), None, True),
        (whole(100), snapshot(1, 0, 10), False),
        (whole(40, 100, 150), snapshot(1, 0, 500), True),
        (whole(40, 100, 149), snapshot(1, 0, 500), False),
        (whole(1, 62, every_ms=DAY_MS), snapshot(1, 0, 500), True),
        (whole(1, 61, every_ms=DAY_MS), snapshot(1, 0, 500), False),
        (whole(base=snapshot(5, 9, 500)), snapshot(5, 9, 500), False),
    ],
    ids=[
        "nothing",
        "little log",
        "enough log",
        "a day",
        "no log since",
        "half of the pages",
        "less than half of the pages",
        "a day and an eighth of the pages",
        "a day and less than an eighth",
        "only a snapshot",
    ],
)
def test_a_snapshot_is_due_by_the_bytes_of_the_log_and_by_its_age(
    found: backup.Chain, newest: Snapshot | None, *, is_due: bool
) -> None:
    """Relative to the pages' bytes, so that large volumes are not written again for little."""
    assert deciding.due(found, newest, log_bytes_min=100) is is_due


def test_the_whole_begins_with_the_oldest_snapshot_from_which_it_reaches_the_end() -> None:
    """Where the log is there from its first record on no snapshot is needed; a gap is bridged by one."""
    bases = [snapshot(10, 1, 1), snapshot(30, 2, 1)]
    log = [Piece(0, 1, 20, 0, 0), Piece(0, 21, 40, 3, 3)]
    assert backup.chain(log, bases).base is None
    assert backup.chain(log[1:], bases) == backup.Chain([log[1]], [], bases[1])
    assert backup.chain([Piece(0, 5, 20, 0, 0), log[1]], bases).base == bases[0]
    assert backup.chain([], bases).last_lsn == 30
