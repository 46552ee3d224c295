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
    if refusal := mount(folder, size=size):
        missing(refusal)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(folder: Path, *, size: str) -> str:
    """Mount a file system of `size` on `folder`. Why that cannot be; empty where it was done."""
    options = f"size={size},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    return f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}" if mounted.returncode else ""


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
