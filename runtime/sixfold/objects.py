"""The object store: bytes by their SHA-256. `Objects` is the port and its docstring the specification.

`FolderObjects` keeps it in one folder, `<data_dir>/artifacts`; a store on S3 joins by the same port.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sixfold import errors
from sixfold.process import Process

CHUNK_BYTES = 1 << 18
"""Read and written at once; 256 KiB keeps memory flat and the calls few."""
_DIGEST = re.compile(r"[0-9a-f]{64}")

Source = bytes | Path | AsyncIterable[bytes]


class ObjectError(errors.SixfoldError):
    """Base of the object store's errors."""


class ObjectNotFoundError(ObjectError):
    """No object has this digest."""


class CorruptObjectError(ObjectError):
    """The stored bytes do not have the digest that they are stored under: the disk or somebody changed them."""


class ObjectTooLargeError(ObjectError):
    """More bytes than the caller allows; nothing was stored, nothing given."""


class Objects(Protocol):
    """Immutable objects, named by the SHA-256 of their bytes in lower-case hex.

    `put` returns once the object is durable, and never shows half an object: a crash leaves all of it or none under
    its digest. Putting the same bytes twice stores them once. Every way to read checks the digest and raises
    CorruptObjectError instead of giving a last chunk, ObjectNotFoundError where there is no such object.
    """

    async def put(self, source: Source, *, bytes_max: int | None = None) -> str:
        """Store bytes, a file or a stream; its digest. Raises ObjectTooLargeError beyond `bytes_max`."""

    async def get(self, digest: str, *, bytes_max: int | None = None) -> bytes:
        """The whole object in memory. Raises ObjectTooLargeError beyond `bytes_max`."""

    def open(self, digest: str) -> AsyncIterator[bytes]:
        """The object in chunks; the last one comes after the digest was found right."""

    async def save(self, digest: str, target: Path) -> int:
        """Write the object to the file `target`, whole or not at all; its size in bytes."""

    async def exists(self, digest: str) -> bool: ...

    async def size(self, digest: str) -> int: ...


class FolderObjects:
    """Objects as files in one folder; many processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, source: Source, *, bytes_max: int | None = None) -> str:
        if isinstance(source, bytes | Path):
            return await asyncio.to_thread(self._put, source, bytes_max)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = _Partial(self.folder, bytes_max)
        try:
            async for chunk in source:
                await asyncio.to_thread(partial.write, chunk)
            return await asyncio.to_thread(partial.keep)
        finally:
            partial.close()

    def _put(self, source: bytes | Path, bytes_max: int | None) -> str:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = _Partial(self.folder, bytes_max)
        try:
            if isinstance(source, bytes):
                partial.write(source)
            else:
                with source.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        partial.write(chunk)
            return partial.keep()
        finally:
            partial.close()

    async def get(self, digest: str, *, bytes_max: int | None = None) -> bytes:
        size = await self.size(digest)
        if bytes_max is not None and size > bytes_max:
            raise ObjectTooLargeError(f"object {digest} has {size} bytes, at most {bytes_max} are taken here")
        return b"".join([chunk async for chunk in self.open(digest)])

    async def open(self, digest: str) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self._open, digest)
        with file:
            hasher, held = hashlib.sha256(), b""
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                if held:
                    yield held
                hasher.update(chunk)
                held = chunk
            self._check(digest, hasher.hexdigest())
            if held:
                yield held

    async def save(self, digest: str, target: Path) -> int:
        return await asyncio.to_thread(self._save, digest, target)

    def _save(self, digest: str, target: Path) -> int:
        with self._open(digest) as file:
            partial = _Partial(target.parent, None)
            try:
                while chunk := file.read(CHUNK_BYTES):
                    partial.write(chunk)
                self._check(digest, partial.digest)
                partial.keep_as(target)
                return partial.size_bytes
            finally:
                partial.close()

    async def exists(self, digest: str) -> bool:
        return await asyncio.to_thread(self._path(digest).is_file)

    async def size(self, digest: str) -> int:
        with await asyncio.to_thread(self._open, digest) as file:
            return os.fstat(file.fileno()).st_size

    def _path(self, digest: str) -> Path:
        # Digests come from events and requests; only 64 hex digits may ever become a path.
        if not _DIGEST.fullmatch(digest):
            raise ObjectNotFoundError(
                f"{digest[:80]!r} is no object's name; expected 64 lower-case hex digits (SHA-256)"
            )
        return self.folder / digest

    def _open(self, digest: str) -> BinaryIO:
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise ObjectNotFoundError(f"no object {digest} in {self.folder}; was it put on another machine?") from None

    def _check(self, digest: str, found: str) -> None:
        if found != digest:
            raise CorruptObjectError(
                f"object {digest} in {self.folder} has the digest {found}: its file was changed or damaged; "
                "delete the file and make the object again"
            )


class _Partial:
    """A file under way: takes its name only when it is whole and fsynced."""

    def __init__(self, folder: Path, bytes_max: int | None) -> None:
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._path = Path(name)
        self._hasher = hashlib.sha256()
        self._bytes_max = bytes_max
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        return self._hasher.hexdigest()

    def write(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self._bytes_max is not None and self.size_bytes > self._bytes_max:
            raise ObjectTooLargeError(f"more than {self._bytes_max} bytes; nothing was stored")
        self._hasher.update(chunk)
        self._file.write(chunk)

    def keep(self) -> str:
        self.keep_as(self._path.parent / self.digest)
        return self.digest

    def keep_as(self, target: Path) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(target)
        sync_folder(target.parent)

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename survives a power cut only after this."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_objects(process: Process) -> FolderObjects:
    """The system's object store: `await ctx.resource(objects.open_objects)` in a handler."""
    return FolderObjects(process.data_dir / "artifacts")
