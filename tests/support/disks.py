"""A disk that can be full: a small file system of its own."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import missing

_BLOCK = bytes(64 * 1024)


@contextlib.contextmanager
def small(folder: Path, *, size: str) -> Iterator[Path]:
    """`folder`, made, with a file system of `size` (such as `4m`) mounted on it; missing where that is not allowed."""
    folder.mkdir()
    options = f"size={size},mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        missing(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Let `ballast` take all the room that is left; delete it to make room again."""
    with ballast.open("ab", buffering=0) as file:
        for size in (len(_BLOCK), 4096, 1):
            while True:
                try:
                    file.write(_BLOCK[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break
