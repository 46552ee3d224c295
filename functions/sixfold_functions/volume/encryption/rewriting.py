"""Full segments written anew under the current data key, one by one, while the copy serves.

The new file is written beside the old one, read back, synced, and takes its name; then the folder is synced. A crash
at any point leaves the one or the other under the name, both whole, and perhaps the beginning of a file that nobody
names, which the next start takes away. What a reader finds at a place is the same before and after.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames, segments
from sixfold_functions.volume.encryption import chunked, inventory
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.encryption.sealing import Sealing

NEW = ".new"
SYNC_BYTES = 4 * 1024 * 1024
"""Synced on the way each time so much was written: one sync of a whole segment would hold up the copy's own."""


class NoRoomError(files.LogError):
    """There is no room for a segment beside the old one; nothing was changed."""


class Rewriter:
    """Writes segments of one copy anew."""

    def __init__(
        self, disk: disks.Disk, folder: Path, log: segments.SegmentLog, *, label: str, keyring: Keyring
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._log = log
        self._label = label
        self._keyring = keyring

    def tidy(self) -> None:
        """Take away what an earlier process did not finish. Raises LogFailedError."""
        try:
            for name in self._disk.names(self._folder):
                if name.endswith(inventory.SUFFIX + NEW):
                    self._disk.remove(self._folder / name)
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error

    def stale(self) -> list[inventory.Held]:
        """What is to be written anew, if anything is. Raises LogFailedError."""
        current = self._keyring.current
        if current is None or not self._keyring.reencrypt:
            return []
        try:
            full = [each for each in inventory.segments(self._disk, self._folder) if each.segment < self._log.newest]
        except OSError as error:
            raise files.failure(error, self._folder, self._label) from error
        return inventory.stale(full, current.blob)

    def rewrite(self, segment: int) -> Generator[int]:
        """Step by step; each says how many bytes it wrote or read back, and all is done when there is none left.

        Raises LogDamagedError (the segment stays as it is), NoRoomError (the same), LogFailedError (the copy must end).
        """
        path = self._log.path(segment)
        new = path.with_name(path.name + NEW)
        if segment < self._log.first:
            return  # let go meanwhile
        try:
            yield from self._write(segment, path, new)
            if segment < self._log.first:
                self.tidy()
                return
            self._disk.rename(new, path)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.tidy()
                raise NoRoomError(
                    f"{self._label}: no room in {self._folder} to write segment {segment} anew beside the old one "
                    f"({error.strerror}); make room, it is tried again"
                ) from error
            raise files.failure(error, self._folder, self._label) from error
        self._log.replaced(segment)

    def _write(self, segment: int, path: Path, new: Path) -> Iterator[int]:
        source, target = self._disk.open(path), self._disk.open(new, create=True)
        try:
            target.truncate(0)
            shown = chunked.opened(source, segment, self._label, self._keyring)
            size, unsynced, buffer, check = shown.size(), 0, bytearray(), 0
            writer = chunked.Writer(target, segment, self._label, self._keyring, size, chunked.CHUNK_BYTES)
            for piece in self._pieces(segment, path, shown):
                check = zlib.crc32(piece, check)
                buffer += piece
                while len(buffer) >= chunked.CHUNK_BYTES:
                    writer.add(bytes(buffer[: chunked.CHUNK_BYTES]))
                    del buffer[: chunked.CHUNK_BYTES]
                    unsynced += chunked.CHUNK_BYTES
                    if unsynced >= SYNC_BYTES:
                        target.fdatasync()
                        unsynced = 0
                    yield chunked.CHUNK_BYTES
            if buffer:
                writer.add(bytes(buffer))
            target.fdatasync()
            yield len(buffer)
            yield from self._check(segment, target, size, check)
        finally:
            source.close()
            target.close()

    def _check(self, segment: int, target: disks.File, size: int, check: int) -> Iterator[int]:
        """The old file goes when this one has its name, so it must open and show the same."""
        shown, found = chunked.opened(target, segment, self._label, self._keyring), 0
        for position in range(0, size, chunked.CHUNK_BYTES):
            data = shown.read_at(position, chunked.CHUNK_BYTES)
            found = zlib.crc32(data, found)
            yield len(data)
        if shown.size() != size or found != check:
            raise files.LogDamagedError(f"{self._label}: segment {segment} reads otherwise than it was written anew")

    def _pieces(self, segment: int, path: Path, shown: disks.File) -> Iterator[bytes]:
        """The bytes that the new file is to show: those of the segment in plain, each frame where it was."""
        about = chunked.about_of(chunked.first_frame(shown))
        if isinstance(shown, chunked.ChunkedFile) or about is None or about.envelope is None:
            yield from self._plain(path, shown)
            return
        sealing, position = Sealing(self._keyring, self._label), 0
        while position < shown.size():
            length = frames.length_at(shown.read_at(position, frames.HEAD_BYTES))
            frame = frames.decode(shown.read_at(position, length)) if length else None
            opened = None if frame is None else sealing.opened(segment, shown, position, frame)
            if opened is None:
                raise self._damaged(path, position)
            yield _in_plain(opened)
            position += opened.size

    def _plain(self, path: Path, shown: disks.File) -> Iterator[bytes]:
        for position in range(0, shown.size(), chunked.CHUNK_BYTES):
            # A chunk that does not open reads as zeros; written anew, those would look like what was there.
            if isinstance(shown, chunked.ChunkedFile) and not shown.opens(position, chunked.CHUNK_BYTES):
                raise self._damaged(path, position)
            yield shown.read_at(position, chunked.CHUNK_BYTES)

    def _damaged(self, path: Path, position: int) -> files.LogDamagedError:
        return files.LogDamagedError(
            f"{path}: the frame at byte {position} is damaged, so the segment stays as it is, under its old data key. "
            f"{files.remedy(self._folder, self._label)}"
        )


def _in_plain(frame: frames.Frame) -> bytes:
    """`frame`, which was encrypted, in as many bytes as it had then, without its segment's old envelope."""
    entries = [_without_envelope(entry) if entry.kind is frames.Kind.SEGMENT else entry for entry in frame.entries]
    room = frame.size - frames.HEAD_BYTES - len(frames.encode_entries(entries))
    if room:
        entries.append(frames.Entry(frames.Kind.PADDING, -1, bytes(room - frames.ENTRY_HEAD_BYTES)))
    return frames.encode(frame.sequence, entries)


def _without_envelope(entry: frames.Entry) -> frames.Entry:
    about = msgspec.json.decode(entry.data, type=chunked.About)
    return entry._replace(data=msgspec.json.encode(msgspec.structs.replace(about, envelope=None, reencrypt=False)))
