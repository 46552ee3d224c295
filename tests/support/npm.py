"""Data that is published as an npm package, fetched once and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

FETCH_TIMEOUT_S = 90


class NoPackageError(Exception):
    """The package cannot be had here; the message says what was tried."""


def package(name: str, version: str) -> Path:
    """The folder of an unpacked package. Raises NoPackageError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sixfold" / "npm"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name.replace('/', '-').lstrip('@')}-{version}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(f"{name}@{version}", folder)
    return folder


def _fetch(wanted: str, folder: Path) -> None:
    if shutil.which("npm") is None:
        raise NoPackageError(f"{wanted} is not in {folder}, and npm is not installed to fetch it")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = ["npm", "pack", wanted, "--silent", "--pack-destination", scratch]
        try:
            done = subprocess.run(
                command, cwd=scratch, check=False, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise NoPackageError(f"npm pack {wanted} took longer than {FETCH_TIMEOUT_S} s") from error
        packed = list(Path(scratch).glob("*.tgz"))
        if done.returncode != 0 or not packed:
            raise NoPackageError(f"npm pack {wanted} failed: {done.stderr.strip()[-500:]}")
        with tarfile.open(packed[0]) as archive:
            archive.extractall(scratch, filter="data")
        (Path(scratch) / "package").rename(folder)
