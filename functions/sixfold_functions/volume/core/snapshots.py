"""Snapshots of pages in a backup: when one is due, the records that it is made of, what it makes superfluous. Pure.

A snapshot at a consistency point is the log up to there without what later records undid: its format, how many pages
there are, and one image of each page that was ever written, in their order. These records are numbered from 1 on, so
they are kept, read and checked like those of a log. Which records there are, and in which batches, follows from the log
alone: two processes that make one snapshot write the same.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence

from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.backup import Batch, Chain, Piece, Snapshot, Tail
from sixfold_functions.volume.core.pages import Change, Kind

LOG_BYTES_MIN = 32 * 1024 * 1024
"""Less log than this is never worth a snapshot within a day: it is applied in a second."""
AGE_MS = 24 * 3_600_000
GRACE_MS = 3_600_000
"""What leaves the window stays for an hour: a restore that has just begun says by then what it reads."""
BATCH_RECORDS = 64
"""Of a batch of a snapshot; fixed, see above."""


def due(whole: Chain, newest: Snapshot | None, *, log_bytes_min: int = LOG_BYTES_MIN) -> bool:
    """Whether it is time for a snapshot at the end of `whole`.

    Once the log since the newest one has half of its bytes: then all snapshots of a time take at most twice the bytes of
    its log, and a restore reads at most half as much log as pages, however large the volume is. And once a day where
    there is an eighth of that, so that a small volume's records do not outlive the retention.
    """
    lsn, size = (newest.lsn, newest.size) if newest is not None else (0, 0)
    since = [each.size for each in whole.pieces if each.last_lsn > lsn]
    if not since or lsn >= whole.last_lsn:
        return False
    if sum(since) >= max(log_bytes_min, size // 2):
        return True
    begun_ms = newest.at_ms if newest is not None else whole.first_ms
    return whole.last_ms - begun_ms >= AGE_MS and sum(since) >= size // 8


def point(batches: Iterable[Batch]) -> Tail | None:
    """The last end of a batch that is a consistency point; a snapshot is made there."""
    found = None
    for batch in batches:
        if batch.consistency_points and batch.consistency_points[-1] == batch.last_lsn:
            found = Tail(batch.last_lsn, batch.origin_epoch, batch.committed_at_ms)
    return found


def batches(images: Iterable[Change], *, page_bytes: int, size: int, at: Tail) -> Iterator[Batch]:
    """The snapshot of a volume with `size` pages of `page_bytes`, of which `images` were ever written.

    Only its last record is a consistency point: there is no state before it. A page of zeros is left out, as one that
    was never written reads the same. Raises PageDamagedError.
    """
    zeros = bytes(page_bytes)
    images = (each for each in images if each.check != zlib.crc32(zeros) or pages.fold([each], page_bytes) != zeros)
    head = [pages.format_record(page_bytes), pages.size_record(size)]
    records = itertools.chain(head, (pages.record_of(each) for each in images))
    first, group = 1, list(itertools.islice(records, BATCH_RECORDS))
    while group:
        following = list(itertools.islice(records, BATCH_RECORDS))
        last = first + len(group) - 1
        points = [] if following else [last]
        yield Batch(first, at.origin_epoch, at.origin_epoch if first > 1 else 0, at.last_ms, points, group)
        first, group = last + 1, following


class DamagedSnapshotError(ValueError):
    """What lies there as a snapshot is none."""


def images(found: Iterable[Batch], lsn: int) -> tuple[int, int, Iterator[Change]]:
    """Of a snapshot at `lsn`: bytes of a page, how many pages there are, and those that were ever written.

    Raises DamagedSnapshotError, also while the pages are taken.
    """
    records = (record for batch in found for record in batch.payloads)
    begun = list(itertools.islice(records, 2))
    page_bytes = pages.page_bytes(begun[0]) if len(begun) == 2 else 0
    size = pages.parse(lsn, begun[1]) if page_bytes else None
    if size is None or size.kind is not Kind.SIZE:
        raise DamagedSnapshotError(f"the snapshot at LSN {lsn} does not begin with the volume's format and size")
    return page_bytes, size.page, _images(records, lsn)


def _images(records: Iterable[bytes], lsn: int) -> Iterator[Change]:
    for record in records:
        change = pages.parse(lsn, record)
        if change.kind is not Kind.IMAGE:
            raise DamagedSnapshotError(f"the snapshot at LSN {lsn} has a record that is no page")
        yield change


def newest(found: Sequence[Snapshot], whole: Chain, at_ms: int) -> Snapshot | None:
    """The newest one that is not later than `at_ms` and from which the log goes on."""
    fit = [each for each in found if each.at_ms <= at_ms and whole.base_lsn <= each.lsn <= whole.last_lsn]
    return fit[-1] if fit else None


def floors(found: Sequence[Snapshot], whole: Chain, until_ms: int, held_lsn: int | None) -> list[Snapshot]:
    """Those that may stand for all that is older, newest first: all moments from `until_ms` on lie behind them.

    `held_lsn` is where the past begins that some other volume reads; None for none.
    """
    fit = [each for each in found if each.at_ms <= until_ms and whole.base_lsn <= each.lsn <= whole.last_lsn]
    return [each for each in reversed(fit) if held_lsn is None or each.lsn <= held_lsn]


def superfluous(pieces: Iterable[Piece], floor: Snapshot) -> list[Piece]:
    """Objects of log and snapshots that nobody needs where `floor` is there, oldest first."""
    old = [
        each for each in pieces if (each.snapshot_lsn < floor.lsn if each.snapshot_lsn else each.last_lsn <= floor.lsn)
    ]
    return sorted(old, key=lambda each: (each.snapshot_lsn or each.last_lsn, each.first_lsn))
