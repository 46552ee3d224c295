"""A copy's segment log: files of frames, each frame fsynced before anybody hears of it.

Opening reads every frame back, in order. A torn frame at the end of the last file is cut off, and the cut is synced
before the next append (else what is appended behind it would be unreadable after the next start). An invalid frame
anywhere else is damage: the log refuses to open, since records that were acknowledged are gone from this copy.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sixfold import errors
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import frames

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
"""A new file is begun beyond this; an eighth of a second to read at 500 MB/s."""
_SUFFIX = ".seg"


class LogError(errors.SixfoldError):
    """Base of the segment log's errors."""


class LogDamagedError(LogError):
    """A frame in the middle of the log is invalid: the disk changed or lost what was fsynced."""


class LogForeignError(LogError):
    """The folder holds another copy's log."""


class LogFailedError(LogError):
    """A file operation failed; the process must end, so that the next start sees what really is on the disk."""


class LogFullError(LogFailedError):
    """There is no room on the disk."""


class Location(NamedTuple):
    """Where a frame lies."""

    segment: int
    position: int


class SegmentLog:
    """The log in `folder`. Call `replay` once before anything else."""

    def __init__(
        self, disk: disks.Disk, folder: Path, *, label: str, segment_bytes_max: int = SEGMENT_BYTES_MAX
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._label = label
        """Which copy of which volume; a folder with another one's log is refused."""
        self._segment_bytes_max = segment_bytes_max
        self._files: dict[int, disks.File] = {}
        self._last = 0
        self._sequence = 0
        self._failed = False

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:08d}{_SUFFIX}"

    def replay(self) -> Iterator[tuple[Location, frames.Frame]]:
        """Every frame with its place, in order; then the log is ready to be appended to."""
        self._disk.make_folder(self._folder)
        numbers = [int(name[: -len(_SUFFIX)]) for name in self._disk.names(self._folder) if name.endswith(_SUFFIX)]
        if numbers != list(range(1, len(numbers) + 1)):
            raise LogDamagedError(
                f"{self._folder}: expected segments 1 to {len(numbers)}, found {numbers}; a file is missing. "
                f"{self._remedy()}"
            )
        for segment in numbers:
            self._files[segment] = self._disk.open(self._path(segment))
            yield from self._read_segment(segment, last=segment == numbers[-1])
            self._last = segment
        if not numbers:
            self._begin_segment()

    def _read_segment(self, segment: int, *, last: bool) -> Iterator[tuple[Location, frames.Frame]]:
        file = self._files[segment]
        data = file.read_at(0, file.size())
        position = 0
        while position < len(data):
            frame = frames.decode(data, position)
            if frame is None or frame.sequence != self._sequence + 1:
                self._cut_torn_tail(segment, data, position, last=last)
                break
            if position == 0:
                self._check_label(segment, frame)
            self._sequence = frame.sequence
            yield Location(segment, position), frame
            position += frame.size
        if position == 0:
            # Only the last file can be empty: the power went between its creation and its first sync.
            self._write_header(segment)

    def _cut_torn_tail(self, segment: int, data: bytes, position: int, *, last: bool) -> None:
        path = self._path(segment)
        valid = position if frames.decode(data, position) else frames.valid_after(data, position)
        if not last or valid is not None:
            raise LogDamagedError(
                f"{path}: expected frame {self._sequence + 1} at byte {position}, found damaged bytes"
                f"{f', and a valid frame again at byte {valid}' if valid is not None else ''}: "
                f"the disk did not keep what was fsynced. {self._remedy()}"
            )
        file = self._files[segment]
        file.truncate(position)
        self._sync(file)

    def _remedy(self) -> str:
        return (
            f"Look at the disk, then move {self._folder} away and start {self._label} again: "
            "it reads its partition anew and gets the rest from the other copies"
        )

    def _check_label(self, segment: int, frame: frames.Frame) -> None:
        try:
            label = json.loads(frame.entries[0].data)["label"]
        except (ValueError, KeyError, IndexError) as error:
            raise LogForeignError(f"{self._path(segment)} is no segment of a volume's copy") from error
        if label != self._label:
            raise LogForeignError(
                f"{self._path(segment)} belongs to {label}, expected {self._label}; give each copy its own folder"
            )

    def _begin_segment(self) -> None:
        segment = self._last + 1
        try:
            self._files[segment] = self._disk.open(self._path(segment), create=True)
        except OSError as error:
            raise self._failure(error) from error
        self._write_header(segment)
        self._last = segment

    def _write_header(self, segment: int) -> None:
        about = json.dumps({"format": 1, "label": self._label, "segment": segment}).encode()
        self._write(self._files[segment], [frames.Entry(frames.Kind.SEGMENT, -1, about)])
        self._sync(self._files[segment])
        try:
            self._disk.sync_folder(self._folder)
        except OSError as error:
            raise self._failure(error) from error

    def next_location(self) -> Location:
        """Where the next frame will lie; begins a new file if the last one is full."""
        if self._files[self._last].size() >= self._segment_bytes_max:
            self._begin_segment()
        return Location(self._last, self._files[self._last].size())

    def append(self, entries: Sequence[frames.Entry]) -> None:
        """Write one frame at `next_location` and fsync it. Raises LogFailedError; the log is dead then."""
        file = self._files[self._last]
        self._write(file, entries)
        self._sync(file)

    def _write(self, file: disks.File, entries: Sequence[frames.Entry]) -> None:
        if self._failed:
            raise LogFailedError(f"{self._label}: an earlier write failed; end the process and start it again")
        self._sequence += 1
        try:
            file.append(frames.encode(self._sequence, entries))
        except OSError as error:
            raise self._failure(error) from error

    def _sync(self, file: disks.File) -> None:
        try:
            file.fdatasync()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> LogFailedError:
        self._failed = True
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return LogFullError(
                f"{self._label}: no room in {self._folder} ({error.strerror}); make room, then start it again: "
                "what it had acknowledged is kept, and it catches up"
            )
        return LogFailedError(
            f"{self._label}: {self._folder} cannot be written ({error}); the copy stops, since after a failed sync "
            "nobody knows what the disk holds. Look at the disk, then start it again"
        )

    def read(self, location: Location) -> frames.Frame:
        """The frame at `location`. Raises LogDamagedError where it is not valid any more."""
        file = self._files[location.segment]
        head = file.read_at(location.position, frames.HEAD_BYTES)
        size = frames.length_at(head) if len(head) == frames.HEAD_BYTES else 0
        frame = frames.decode(file.read_at(location.position, size)) if size else None
        if frame is None:
            raise LogDamagedError(
                f"{self._path(location.segment)}: the frame at byte {location.position} is damaged. {self._remedy()}"
            )
        return frame

    def close(self) -> None:
        """Close the files; everything that was appended is on the disk already."""
        for file in self._files.values():
            file.close()
        self._files.clear()
