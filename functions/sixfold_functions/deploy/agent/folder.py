"""The agent's folder: where each thing lies, and writing small files so that a crash leaves the old or the new one.

`root/` is the instance's file system as deployments see it; everything beside it is the agent's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from sixfold.errors import SixfoldError, UsageError

REVISIONS_MAX = 5
"""Kept of each group, as CodeDeploy's agent does (`max_revisions`)."""


class OutsideRootError(SixfoldError):
    """A destination lies outside the instance's root, by way of a link."""


class Folder:
    """The paths below an agent's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "root"
        self.outbox = path / "outbox"
        self.ongoing = path / "ongoing"
        self.handled = path / "handled.json"
        self._instructions = path / "instructions"
        self._revisions = path / "revisions"

    def make(self) -> None:
        """Make the folders that do not exist."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (self.root, self.outbox, self.ongoing, self._instructions, self._revisions):
            each.mkdir(exist_ok=True)

    def lock(self) -> BinaryIO:
        """Hold the folder until the returned file is closed. Raises UsageError where another agent holds it."""
        file = (self.path / "agent.lock").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(f"another agent works in {self.path}; one folder is one instance") from None
        return file

    def revision(self, group_id: str, deployment_id: str) -> Path:
        """Folder of a deployment's bundle (`bundle.tar.gz`), its unpacked `archive/` and `logs/`."""
        return self._revisions / group_id / safe_name(deployment_id)

    def cleanup(self, group_id: str) -> Path:
        """The manifest of what the last Install put on the instance."""
        return self._instructions / f"{group_id}-cleanup"

    def plan(self, group_id: str) -> Path:
        """The last Install's plan, for the reader."""
        return self._instructions / f"{group_id}-install.json"

    def last_install(self, group_id: str) -> Path | None:
        """The revision folder of the last Install that succeeded, None before the first."""
        try:
            deployment_id = (self._instructions / f"{group_id}_last_successful_install").read_text()
        except FileNotFoundError:
            return None
        folder = self.revision(group_id, deployment_id)
        return folder if (folder / "archive").is_dir() else None

    def set_last_install(self, group_id: str, deployment_id: str) -> None:
        write(self._instructions / f"{group_id}_last_successful_install", deployment_id.encode())

    def on_instance(self, path: str) -> Path:
        """Where the instance's absolute `path` lies. Raises OutsideRootError where a link leads out of the root."""
        place = self.root / path.lstrip("/")
        if not place.parent.resolve().is_relative_to(self.root.resolve()):
            raise OutsideRootError(f"{path} leads out of the instance's root by way of a link")
        return place

    def prune(self, group_id: str, current: str) -> None:
        """Drop the oldest revisions beyond REVISIONS_MAX; never the current one nor the last that was installed."""
        last = self.last_install(group_id)
        kept = {safe_name(current), last.name if last else ""}
        folders = sorted((self._revisions / group_id).iterdir(), key=lambda each: each.stat().st_mtime_ns)
        spare = [each for each in folders if each.name not in kept]
        for each in spare[: max(0, len(folders) - REVISIONS_MAX)]:
            shutil.rmtree(each, ignore_errors=True)


def group_id_of(application: str, group: str) -> str:
    """DEPLOYMENT_GROUP_ID: the same for an application in a group on every machine."""
    return hashlib.sha256(f"{application}\0{group}".encode()).hexdigest()[:32]


def safe_name(identifier: str) -> str:
    """`identifier` as a file name: as it is where that is safe, else its digest."""
    plain = identifier.replace("-", "").replace("_", "").replace(".", "")
    if plain.isascii() and plain.isalnum() and len(identifier) <= 100 and not identifier.startswith("."):
        return identifier
    return hashlib.sha256(identifier.encode()).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Replace `path` durably: after a crash it holds the old bytes or the new."""
    partial = path.with_name(f".{path.name}.new")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
