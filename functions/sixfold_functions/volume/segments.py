"""A copy's segment log: files of frames, each frame fsynced before anybody hears of it.

A segment begins with a checkpoint of all that is known where it begins, and a full one is sealed by a last frame. So
opening reads back the newest segment only; of the others it looks whether they are there and sealed. A torn frame at
the end of the last file is cut off, and the cut is synced before the next append (else what is appended behind it
would be unreadable after the next start). An invalid frame anywhere else is damage: the log refuses to open, since
records that were acknowledged are gone from this copy. Damage in a sealed segment is found when it is read.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, numbered
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.sealing import Sealing
from sixfold_functions.volume.files import LogDamagedError, LogFailedError, LogForeignError

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
"""A new file is begun beyond this; an eighth of a second to read at 500 MB/s."""


class Location(NamedTuple):
    """Where a frame lies."""

    segment: int
    position: int


class SegmentLog:
    """The log in `folder`. Call `replay` once before anything else."""

    def __init__(
        self,
        disk: disks.Disk,
        folder: Path,
        *,
        label: str,
        checkpoint: Callable[[], bytes] = bytes,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        keyring: Keyring | None = None,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._label = label
        """Which copy of which volume; a folder with another one's log is refused."""
        self._checkpoint = checkpoint
        """Called where a segment begins: all that is known of what lies before. Empty for a log without checkpoints."""
        self._segment_bytes_max = segment_bytes_max
        self.sealing = Sealing(keyring or Keyring(), label)
        self._names = numbered.Segments(disk, folder)
        self._files = files.Files(disk, self.path, self.sealing.wrapped)
        self.first = 1
        """The log begins with this segment; set it before `replay` where earlier ones were removed."""
        self._last = 0
        self._tail: tuple[Location, int] | None = None
        """The last frame that was read back, and its size."""
        self._sequence = 0
        self._failed = False
        self.suspects: set[int] = set()
        """Segments in which a reader found damage; whoever looks after them takes them out."""

    def path(self, segment: int) -> Path:
        """Of a segment's file."""
        return self._names.path(segment)

    # -- opening ---------------------------------------------------------------------------------------------------

    def replay(self, *, whole: bool = False) -> Iterator[tuple[Location, frames.Frame]]:
        """Every frame with its place from the newest checkpoint on, in order; with `whole` from the very beginning.

        Then the log is ready to be appended to. May be called again, so that the whole log can be read after all.
        """
        self._disk.make_folder(self._folder)
        numbers = [number for number in self._names.numbers() if number >= self.first]
        end = self.first + len(numbers)
        if numbers != list(range(self.first, end)) or (self.first > 1 and not numbers):
            raise LogDamagedError(
                f"{self._folder}: expected segments {self.first} to {max(end - 1, self.first)}, found {numbers}; "
                f"a file is missing. {self._remedy()}"
            )
        self._last = end - 1
        if not numbers:
            self._begin_segment()
            return
        start = self.first if whole else self._newest_checkpoint()
        for segment in range(self.first, start):
            self._check_sealed(segment)
        head = self._head(start)
        self._sequence = head.sequence - 1 if head is not None else 0
        for segment in range(start, self._last + 1):
            yield from self._read_segment(segment)

    def checkpoint_of(self, segment: int) -> bytes | None:
        """What a segment begins with; None where that has no checkpoint, or is damaged."""
        head = self._head(segment)
        entries = head.entries if head is not None else ()
        return next((entry.data for entry in entries if entry.kind is frames.Kind.CHECKPOINT), None)

    def _head(self, segment: int) -> frames.Frame | None:
        """A segment's first frame, None where it is not whole."""
        file = self._files.get(segment)
        length = frames.length_at(file.read_at(0, frames.HEAD_BYTES))
        frame = frames.decode(file.read_at(0, length))
        return None if frame is None else self.sealing.opened(segment, file, 0, frame)

    def _newest_checkpoint(self) -> int:
        """The newest segment with a checkpoint; the first where none has."""
        found = (segment for segment in range(self._last, self.first, -1) if self.checkpoint_of(segment) is not None)
        return next(found, self.first)

    def _check_sealed(self, segment: int) -> None:
        """Raises LogDamagedError where a file that is not read back does not end as it did when the next was begun."""
        file = self._files.get(segment)
        self._names.sizes[segment] = file.size()
        position = max(file.size() - frames.SEAL_BYTES, 0)
        end = frames.decode(file.read_at(position, frames.SEAL_BYTES))
        if end is not None and end.entries[0] == frames.seal(position):
            return
        # Cut off, or of a version that sealed nothing: reading tells.
        head, following = self._head(segment), self._head(segment + 1)
        self._sequence = head.sequence - 1 if head is not None else 0
        for _ in self._read_segment(segment):
            pass
        if following is None or following.sequence != self._sequence + 1:
            raise LogDamagedError(
                f"{self.path(segment)}: ends with frame {self._sequence}, which the next file does not follow; "
                f"it was cut. {self._remedy()}"
            )

    def _read_segment(self, segment: int) -> Iterator[tuple[Location, frames.Frame]]:
        file = self._files.get(segment)
        data = file.read_at(0, file.size())
        self._names.sizes[segment] = len(data)
        position = 0
        while position < len(data):
            frame = frames.decode(data, position)
            if frame is None or frame.sequence != self._sequence + 1:
                self._cut_torn_tail(segment, data, position)
                break
            if position == 0:
                self._check_label(segment, frame)
            self._sequence = frame.sequence
            location = Location(segment, position)
            self._tail = location, frame.size
            yield location, self._opened(location, file, frame)
            position += frame.size
        if position == 0:
            # Only the last file can be empty: the power went between its creation and its first sync.
            self._write_header(segment)

    def _cut_torn_tail(self, segment: int, data: bytes, position: int) -> None:
        path = self.path(segment)
        valid = position if frames.decode(data, position) else frames.valid_after(data, position)
        if segment != self._last or valid is not None:
            raise LogDamagedError(
                f"{path}: expected frame {self._sequence + 1} at byte {position}, found damaged bytes"
                f"{f', and a valid frame again at byte {valid}' if valid is not None else ''}: "
                f"the disk did not keep what was fsynced. {self._remedy()}"
            )
        file = self._files.get(segment)
        try:
            file.truncate(position)
        except OSError as error:
            raise self._failure(error) from error
        self._sync(file)

    def write_tail_again(self) -> None:
        """Make sure that what was read back is on the disk: write the last frame once more, in its place, and sync it.

        A process that ends at a failed sync leaves its last frame in the page cache, where it is readable, marked clean
        and not on the disk; a mere sync would not write it (Rebello et al.). One frame is all that is ever written and
        not synced, and the same bytes in the same place harm nothing, torn or not.
        """
        if self._tail is None:
            return
        location, size = self._tail
        file = self._files.get(location.segment)
        try:
            file.write_at(location.position, file.read_at(location.position, size))
        except OSError as error:
            raise self._failure(error) from error
        self._sync(file)
        self._sync_folder()  # the same goes for the newest file's name

    def _remedy(self) -> str:
        return files.remedy(self._folder, self._label)

    def _check_label(self, segment: int, frame: frames.Frame) -> None:
        try:
            label = json.loads(frame.entries[0].data)["label"]
        except (ValueError, KeyError, IndexError) as error:
            raise LogForeignError(f"{self.path(segment)} is no segment of a volume's copy") from error
        if label != self._label:
            raise LogForeignError(
                f"{self.path(segment)} belongs to {label}, expected {self._label}; give each copy its own folder"
            )

    # -- writing ---------------------------------------------------------------------------------------------------

    def _begin_segment(self) -> None:
        segment = self._last + 1
        try:
            self._files.create(segment)
        except OSError as error:
            raise self._failure(error) from error
        self._last = segment
        self._write_header(segment)

    def _write_header(self, segment: int) -> None:
        entries = [frames.Entry(frames.Kind.SEGMENT, -1, self.sealing.about(segment))]
        if known := self._checkpoint():
            entries.append(frames.Entry(frames.Kind.CHECKPOINT, -1, known))
        file = self._files.get(segment)
        self._write(file, entries)
        self._sync(file)
        self._sync_folder()

    def _sync_folder(self) -> None:
        try:
            self._disk.sync_folder(self._folder)
        except OSError as error:
            raise self._failure(error) from error

    def next_location(self) -> Location:
        """Where the next frame will lie; seals the last file and begins a new one if it is full."""
        file = self._files.get(self._last)
        if file.size() >= self._segment_bytes_max:
            self.roll()
            file = self._files.get(self._last)
        return Location(self._last, file.size())

    def roll(self) -> None:
        """Seal the last file, full or not, and begin a new one. Raises LogFailedError."""
        file = self._files.get(self._last)
        self._write(file, [frames.seal(file.size())])
        self._sync(file)
        self._names.sizes[self._last] = file.size()
        self._begin_segment()

    def replaced(self, segment: int) -> None:
        """Another file, which shows the same, has a full segment's name now."""
        self._files.forget(segment)
        self.sealing.forget(segment)

    def strays(self) -> bool:
        """Whether there are files of segments before the first."""
        return any(number < self.first for number in self._names.numbers())

    def begin_with(self, first: int) -> None:
        """Remove the segments before `first`, of which nobody needs anything. Raises LogFailedError."""
        try:
            for segment in self._names.remove_before(first):
                self.replaced(segment)
        except OSError as error:
            raise self._failure(error) from error
        self.first = first
        self.suspects = {segment for segment in self.suspects if segment >= first}
        self._sync_folder()

    def append(self, entries: Sequence[frames.Entry]) -> None:
        """Write one frame at `next_location` and fsync it. Raises LogFailedError; the log is dead then."""
        file = self._files.get(self._last)
        self._write(file, entries)
        self._sync(file)

    def _write(self, file: disks.File, entries: Sequence[frames.Entry]) -> None:
        if self._failed:
            raise LogFailedError(f"{self._label}: an earlier write failed; end the process and start it again")
        self._sequence += 1
        try:
            file.append(frames.encode(self._sequence, self.sealing.sealed(self._last, file, self._sequence, entries)))
        except OSError as error:
            raise self._failure(error) from error

    def _sync(self, file: disks.File) -> None:
        try:
            file.fdatasync()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> LogFailedError:
        self._failed = True
        return files.failure(error, self._folder, self._label)

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self._names.full_bytes(self._last) + self._files.get(self._last).size()

    @property
    def newest(self) -> int:
        """The segment that is being written; all before it are full."""
        return self._last

    def file(self, segment: int) -> disks.File:
        """What a segment's file shows. Raises OSError."""
        return self._files.get(segment)

    def frame_at(self, location: Location) -> frames.Frame | None:
        """The frame at `location`; None where it is damaged."""
        try:
            return self._read(location)
        except LogDamagedError:
            return None

    def read(self, location: Location) -> frames.Frame:
        """The frame at `location`. Raises LogDamagedError where it is not valid any more."""
        try:
            return self._read(location)
        except LogDamagedError:
            self.suspects.add(location.segment)
            raise

    def _read(self, location: Location) -> frames.Frame:
        if location.segment < self.first:
            raise LogDamagedError(f"{self.path(location.segment)} is not kept any more")
        file, frame = self._files.get(location.segment), None
        try:
            size = frames.length_at(file.read_at(location.position, frames.HEAD_BYTES))
            frame = frames.decode(file.read_at(location.position, size)) if size else None
        except OSError as error:
            if error.errno != errno.EIO:  # what the disk cannot read any more is damaged
                raise
        if frame is None:
            raise LogDamagedError(
                f"{self.path(location.segment)}: the frame at byte {location.position} is damaged. {self._remedy()}"
            )
        return self._opened(location, file, frame)

    def _opened(self, location: Location, file: disks.File, frame: frames.Frame) -> frames.Frame:
        opened = self.sealing.opened(location.segment, file, location.position, frame)
        if opened is None:
            raise LogDamagedError(
                f"{self.path(location.segment)}: the frame at byte {location.position} was not written there with this "
                f"segment's key: it was changed, or moved. {self._remedy()}"
            )
        return opened

    def close(self) -> None:
        """Close the files; everything that was appended is on the disk already."""
        self._files.close()
