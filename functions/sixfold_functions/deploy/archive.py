"""Reading a revision's .tar.gz without trusting it: what it holds, its AppSpec, and unpacking it into a folder.

Refused are paths that lead out, links that lead out, devices, and more than the limits. One folder at the top that
holds everything is stripped where the AppSpec lies in it, as CodeDeploy's agent does.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from sixfold import document
from sixfold.errors import SixfoldError
from sixfold_functions.deploy import appspec

DOWNLOAD_BYTES_MAX = 1 << 30
"""Of an artifact as it is stored; CodePipeline takes git sources of 1 GB."""
UNPACKED_BYTES_MAX = 4 << 30
"""Of everything that it unpacks to."""
MEMBERS_MAX = 50_000
"""Files and folders in it; tarfile keeps a kilobyte of each in memory."""
_SPECS_MAX = 8
"""AppSpecs of folders at the top that are kept in memory until it is known whether one of them counts."""
_READ_BYTES_MAX = 4 << 20
"""tarfile reads a header's extension in one go, of whatever size the header claims."""


class ArchiveError(SixfoldError):
    """The artifact cannot be used: not a .tar.gz, damaged, or something in it is refused."""


@dataclass(frozen=True)
class Contents:
    """What a revision holds."""

    paths: frozenset[str]
    """Files, links and folders, relative to the revision's top."""
    prefix: str
    """The folder that was stripped, empty for none."""
    spec: appspec.AppSpec


def inspect(path: Path, spec_name: str) -> Contents:
    """Look through the .tar.gz at `path`; its AppSpec is `spec_name`, else appspec.yaml, else appspec.yml.

    Raises ArchiveError, and document.DocumentError (with file and line) where the AppSpec is wrong or names files
    that are not there.
    """
    names: set[str] = set()
    specs: dict[str, bytes] = {}
    wanted = ("/".join(_parts(spec_name)), *appspec.FILE_NAMES)
    with _members(path) as members:
        for member, name, archive in members:
            names.add(name)
            names.update(str(parent) for parent in PurePosixPath(name).parents if str(parent) != ".")
            if member.isreg() and _stripped(name, wanted) is not None and len(specs) < _SPECS_MAX:
                specs[name] = _read(archive, member)
    tops = {name.partition("/")[0] for name in names}
    for prefix in ("", f"{next(iter(tops))}/" if len(tops) == 1 else ""):
        for spec in wanted:
            if prefix + spec in specs:
                paths = frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))
                parsed = appspec.parse(specs[prefix + spec], spec)
                missing = parsed.missing(paths)
                if missing:
                    raise missing
                return Contents(paths, prefix, parsed)
    raise ArchiveError(f"{spec_name} is not in the artifact, which holds {_some(names)}; put an AppSpec at its top")


def unpack(path: Path, target: Path, prefix: str) -> None:
    """Unpack the .tar.gz at `path` into the new folder `target`, whole or not at all, without `prefix`."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    links: list[Path] = []
    with _members(path) as members:
        for member, full_name, archive in members:
            if not full_name.startswith(prefix):
                continue
            place = partial / full_name.removeprefix(prefix)
            if any(parent.is_symlink() for parent in place.parents if partial in parent.parents):
                raise ArchiveError(f"{full_name} lies behind a link; put the file where the link points to")
            _place(member, archive, place)
            if member.issym():
                links.append(place)
    top = partial.resolve()
    for link in links:
        if not link.resolve().is_relative_to(top):
            raise ArchiveError(f"link {link.relative_to(partial)} -> {link.readlink()} leads out of the artifact")
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


def _place(member: tarfile.TarInfo, archive: tarfile.TarFile, place: Path) -> None:
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.exists():
        raise ArchiveError(f"{member.name} is in the artifact twice")
    if member.issym():
        place.symlink_to(member.linkname)
        return
    source = cast("BinaryIO", archive.extractfile(member))
    with place.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 18)
        os.fchmod(file.fileno(), 0o755 if member.mode & 0o100 else 0o644)


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, str, tarfile.TarFile]]]:
    """Every member that may be unpacked, with its checked name."""
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=cast("BinaryIO", _Limited(packed)), mode="r:") as archive:
            yield _checked(archive)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArchiveError(f"the artifact is no .tar.gz that can be read: {error}") from error


def _checked(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, tarfile.TarFile]]:
    total = 0
    for count, member in enumerate(archive, start=1):
        total += member.size
        if total > UNPACKED_BYTES_MAX or count > MEMBERS_MAX:
            raise ArchiveError(f"more than {UNPACKED_BYTES_MAX} bytes or {MEMBERS_MAX} files in the artifact")
        if member.issparse() or not (member.isreg() or member.isdir() or member.issym()):
            raise ArchiveError(f"{member.name!r} is neither file, folder nor link; such members are refused")
        parts = _parts(member.name)
        if parts:
            yield member, "/".join(parts), archive


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not name.isprintable():
        raise ArchiveError(f"path {name!r} in the artifact; expected relative paths without `..` or control characters")
    return parts


def _stripped(name: str, wanted: tuple[str, ...]) -> str | None:
    """`name`, or `name` without its first folder, where that is a wanted one."""
    return next((each for each in (name, name.partition("/")[2]) if each in wanted), None)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > document.TEXT_BYTES_MAX:
        raise document.DocumentError(
            member.name, 1, f"{member.size} bytes; expected at most {document.TEXT_BYTES_MAX} for an AppSpec"
        )
    return cast("BinaryIO", archive.extractfile(member)).read()


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(shown) + (" …" if len(names) > len(shown) else "") if shown else "nothing"


class _Limited:
    """A decompressed stream that ends in an error beyond the limits, before memory or disk do."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _READ_BYTES_MAX:
            raise ArchiveError("a header in the artifact is larger than any honest one")
        return self._within(self._stream.read(size))

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0 and position > UNPACKED_BYTES_MAX:
            raise ArchiveError(f"more than {UNPACKED_BYTES_MAX} bytes in the artifact")
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def _within(self, data: bytes) -> bytes:
        if self._stream.tell() > UNPACKED_BYTES_MAX + (MEMBERS_MAX << 10):
            raise ArchiveError(f"more than {UNPACKED_BYTES_MAX} bytes in the artifact")
        return data
