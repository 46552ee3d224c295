"""Packing a folder as a revision: the same files give the same bytes, so the same artifact."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import BinaryIO

from sixfold.errors import UsageError

_LEFT_OUT = {".git", "__pycache__"}


def pack(folder: Path, target: BinaryIO) -> int:
    """Write `folder` as a .tar.gz to `target`; how many files. Raises UsageError where there is nothing to pack."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that holds appspec.yml")
    count = 0
    with (
        gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            links = [name for name in folders if (Path(parent) / name).is_symlink()]
            for name in sorted([*files, *links]):
                _add(archive, folder, Path(parent) / name)
                count += 1
    if not count:
        raise UsageError(f"{folder} holds no files; there is nothing to deploy")
    return count


def _add(archive: tarfile.TarFile, folder: Path, path: Path) -> None:
    member = tarfile.TarInfo(str(path.relative_to(folder)))
    if path.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        archive.addfile(member)
        return
    if not path.is_file():
        raise UsageError(f"{path} is neither file, folder nor link; such things cannot be deployed")
    data = path.read_bytes()
    member.size, member.mode = len(data), 0o755 if os.access(path, os.X_OK) else 0o644
    archive.addfile(member, io.BytesIO(data))
