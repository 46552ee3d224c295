"""Packs what a build made into a .tar.gz that depends on nothing but the files: same files, same bytes, same digest.

Names are sorted, owners and times are zero, modes are 0755 or 0644. Links are kept where they stay inside.
"""

from __future__ import annotations

import functools
import gzip
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sixfold import errors


class ArtifactError(errors.SixfoldError):
    """The artifact cannot be made: nothing matches, a link leads out, or it is too large."""


def pack(root: Path, base: str, patterns: Sequence[str], target: Path, *, bytes_max: int, files_max: int) -> int:
    """Write the files below `root`/`base` that match a pattern into `target`; how many they are.

    In a pattern `*` and `?` stand for anything but `/`, `**` for any folders. Raises ArtifactError.
    """
    top = (root / base).resolve()
    if not top.is_relative_to(root.resolve()) or not top.is_dir():
        raise ArtifactError(f"artifact: there is no folder {base!r} in the working copy after the build")
    found: list[str] = []
    left = bytes_max
    for path, size in _files(top, ""):
        if not any(_matcher(pattern).fullmatch(path) for pattern in patterns):
            continue
        found.append(path)
        left -= size
        # Before a byte is written: a sparse file of a terabyte costs nobody anything until it is packed.
        if len(found) > files_max or left < 0:
            raise _too_large(bytes_max, files_max)
    if not found:
        raise ArtifactError(f"artifact: nothing in {base!r} matches {', '.join(patterns)}; did the build write there?")
    left = bytes_max
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in found:
            size = _add(archive, top, path, left)
            if size > left:
                raise _too_large(bytes_max, files_max)  # it grew meanwhile
            left -= size
    return len(found)


def _too_large(bytes_max: int, files_max: int) -> ArtifactError:
    return ArtifactError(
        f"artifact: more than {bytes_max} bytes or {files_max} files; choose less of the working copy with `files`"
    )


def _files(top: Path, below: str) -> Iterator[tuple[str, int]]:
    """Files and links below `top` with their sizes, in order of their names; nothing of git's own."""
    for entry in sorted(os.scandir(top / below), key=lambda entry: entry.name):
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name != ".git":
                yield from _files(top, path)
        elif entry.is_symlink():
            yield path, 0
        elif entry.is_file(follow_symlinks=False):
            yield path, entry.stat(follow_symlinks=False).st_size


def _add(archive: tarfile.TarFile, top: Path, path: str, left: int) -> int:
    """Add a file or link; its size, which is not written where it is more than `left`."""
    member = tarfile.TarInfo(path)
    source = top / path
    if source.is_symlink():
        aim = os.readlink(source)
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), aim))
        if aim.startswith("/") or inside.startswith(".."):
            raise ArtifactError(f"artifact: the link {path} leads out, to {aim}; an artifact stands for itself")
        member.type, member.linkname = tarfile.SYMTYPE, aim
        archive.addfile(member)
        return 0
    with source.open("rb") as file:
        status = os.fstat(file.fileno())
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        if member.size <= left:
            archive.addfile(member, file)
    return member.size


@functools.cache
def _matcher(pattern: str) -> re.Pattern[str]:
    """`pattern` as a regular expression over a whole path."""
    parts = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        match part:
            case "**/":
                parts.append(r"(?:.*/)?")
            case "**":
                parts.append(r".*")
            case "*":
                parts.append(r"[^/]*")
            case "?":
                parts.append(r"[^/]")
            case _:
                parts.append(re.escape(part))
    return re.compile("".join(parts), re.DOTALL)
