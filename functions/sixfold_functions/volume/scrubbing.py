"""Reading a log back: every frame of every segment, its CRC, its sequence, its seal, and the index against them.

Each segment is read from its beginning, then the rows of the index that point into what was read are followed. It goes
in small steps, since the copy serves in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from sixfold_functions.volume import files, frames, index
from sixfold_functions.volume.mending import Damage, Mender, readable
from sixfold_functions.volume.segments import Location

FILE = "scrub"
STEP_BYTES = 262_144


class Position(msgspec.Struct, frozen=True):
    """How far a reading is, over restarts."""

    segment: int = 1
    row: int = 0
    begun_ms: int = 0
    """When the reading began; the next one begins a day after that."""


def kept_position(mender: Mender) -> Position:
    """How far the copy's reading was when it was last noted."""
    try:
        file = mender.disk.open(mender.folder / FILE)
        try:
            found = msgspec.json.decode(file.read_at(0, file.size()), type=Position)
        finally:
            file.close()
    except (OSError, msgspec.DecodeError):
        return Position()  # a reading is begun anew, no more
    if not 1 <= found.segment <= mender.log.newest + 1 or found.row > len(mender.rows):
        return Position()
    return found


def keep_position(mender: Mender, position: Position) -> None:
    """Note it, unsynced: a power loss costs a reading, no more."""
    with contextlib.suppress(OSError):
        file = mender.disk.open(mender.folder / FILE, create=True)
        try:
            file.truncate(0)
            file.write_at(0, msgspec.json.encode(position))
        finally:
            file.close()


class Scrub:
    """One reading of a copy's log."""

    def __init__(self, mender: Mender, begin: Position) -> None:
        self._mender = mender
        self._log = mender.log
        self.position = begin
        self.damages: list[Damage] = []
        """What was found; whoever mends takes it out."""
        self.wrong_rows: list[int] = []
        """Rows of the index that are damaged, or point to another batch than they say."""

    def total_bytes(self) -> int:
        """What there is to read, beginning at the position."""
        first = max(self.position.segment, self._log.first)
        return sum(self._log.file(segment).size() for segment in range(first, self._log.newest + 1))

    def steps(self) -> Iterator[int]:
        """Read segment by segment; each step says how many bytes it read. The position moves after each segment.

        A segment that is let go meanwhile is left at once.
        """
        last = self._log.newest
        for segment in range(self.position.segment, last + 1):
            yield from self.segment(segment)
            yield from self.rows(segment, last=segment == last)
            self.position = msgspec.structs.replace(self.position, segment=segment + 1)

    def segment(self, segment: int) -> Iterator[int]:
        """Read one segment."""
        if segment < self._log.first:
            return
        file, position, read = self._log.file(segment), 0, 0
        size = file.size()
        expected = self._first_sequence(segment)
        sealed = segment == self._log.newest
        while position < size:
            frame = self._log.frame_at(Location(segment, position))
            if frame is not None and frame.sequence == expected:
                position, expected, read = position + frame.size, expected + 1, read + frame.size
                sealed = sealed or (position == size and frame.entries[0].kind is frames.Kind.SEALED)
            else:
                following, at = self._next(segment, position, size, expected)
                self.damages.append(Damage(segment, position, at, expected, following - 1))
                sealed = sealed or at == size
                position, expected, read = at, following, read + at - position
            if read >= STEP_BYTES:
                yield read
                read = 0
                if segment < self._log.first:
                    self.damages = [each for each in self.damages if each.segment != segment]
                    return
        if not sealed:
            self.damages.append(Damage(segment, size, size, expected, expected))  # its end is gone
        yield read

    def _first_sequence(self, segment: int) -> int:
        head = self._log.frame_at(Location(segment, 0))
        if head is not None or segment == self._log.first:
            return head.sequence if head is not None else int(segment == 1)
        at = self._log.file(segment - 1).size() - frames.SEAL_BYTES
        end = self._log.frame_at(Location(segment - 1, max(at, 0)))
        return end.sequence + 1 if end is not None else 0

    def _next(self, segment: int, position: int, size: int, expected: int) -> tuple[int, int]:
        """Sequence and place of the next whole frame, or of the segment's end."""
        data = readable(self._log.file(segment), position, size - position)
        at = frames.valid_after(data, 0)
        while at is not None:
            frame = self._log.frame_at(Location(segment, position + at))
            if frame is not None and frame.sequence > expected:
                return frame.sequence, position + at
            at = frames.valid_after(data, at)
        return (self._first_sequence(segment + 1) if segment < self._log.newest else expected + 1), size

    def rows(self, segment: int, *, last: bool) -> Iterator[int]:
        """Follow the rows that point into what was read so far."""
        rows, frame, read = self._mender.rows, None, 0
        number = max(self.position.row, rows.base)
        at: Location | None = None
        damaged = [(each.segment, each.start, each.end) for each in self.damages]
        before = rows.row(number - 1) if number > rows.base else None
        end_lsn = before.last_lsn if before is not None else None
        while number < len(rows):
            row = rows.row(number)
            if row is not None and row.place.frame.segment > segment and not last:
                break
            if row is None or (end_lsn is not None and row.first_lsn != end_lsn + 1):
                self.wrong_rows.append(number)
                end_lsn = None
            else:
                end_lsn = row.last_lsn
                place = row.place.frame
                if place.segment >= self._log.first and not any(
                    place.segment == each and start <= place.position < end for each, start, end in damaged
                ):
                    if place != at:
                        at, frame = place, self._log.frame_at(place)
                        read += frame.size if frame is not None else 0
                    if not self._points_right(row, frame):
                        self.wrong_rows.append(number)
            number += 1
            self.position = msgspec.structs.replace(self.position, row=number)
            if read >= STEP_BYTES or number % 1024 == 0:
                yield 0
                read = 0
                if number < rows.base:
                    number, end_lsn = rows.base, None

    def _points_right(self, row: index.Row, frame: frames.Frame | None) -> bool:
        batch = self._mender.batch(frame, row.place.entry) if frame is not None else None
        return batch is not None and (batch.first_lsn, len(batch.payloads)) == (
            row.first_lsn,
            row.last_lsn - row.first_lsn + 1,
        )


def repaired_rows(mender: Mender, wrong: list[int]) -> Iterator[int]:
    """Write wrong rows of the index anew from the segments, step by step. Raises LogDamagedError where that fails."""
    rows = mender.rows
    while wrong:
        first, last = wrong[0], wrong[0]
        while last + 1 in wrong:
            last += 1
        before = rows.row(first - 1) if first > rows.base else None
        after = rows.row(last + 1) if last + 1 < len(rows) else None
        found: dict[tuple[int, int], tuple[index.Row, int]] = {}
        lsn = (before.last_lsn if before is not None else rows.base_lsn) + 1
        end_lsn = after.first_lsn - 1 if after is not None else mender.node.prefix.floor_lsn
        for segment in range(mender.log.first, mender.log.newest + 1):
            position, size = 0, mender.log.file(segment).size()
            while position < size and (frame := mender.log.frame_at(Location(segment, position))) is not None:
                for number in range(len(frame.entries)):
                    batch = mender.batch(frame, number)
                    if batch is not None and batch.payloads and lsn <= batch.first_lsn <= end_lsn:
                        place = index.Place(Location(segment, position), number)
                        row = index.Row(batch.first_lsn, batch.first_lsn + len(batch.payloads) - 1, place)
                        found[row.last_lsn, batch.origin_epoch] = row, batch.backlink_epoch
                position += frame.size
                yield frame.size
        following = mender.batch_at(after.place) if after is not None else None
        epoch = following.backlink_epoch if following is not None else mender.node.prefix.floor_epoch
        for number in range(last, first - 1, -1):
            known = found.get((end_lsn, epoch))
            if known is None:
                raise files.LogDamagedError(f"row {number} of the index points to nothing that is left")
            rows.mend(number, known[0])
            end_lsn, epoch = known[0].first_lsn - 1, known[1]
            wrong.remove(number)
