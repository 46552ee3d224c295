"""What Install will do, as data: made first, written down, then carried out by `install.py`.

Paths are the instance's, absolute below its root. Source: aws-codedeploy-agent, installer.rb and
install_instruction.rb (which order, what clashes, what is written where).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sixfold.errors import SixfoldError
from sixfold_functions.deploy.appspec import AppSpec, FileExists, Permission


class InstallError(SixfoldError):
    """Install cannot put the revision on the instance; nothing of the plan was carried out."""


class Mkdir(msgspec.Struct, frozen=True, tag="mkdir", tag_field="type"):
    """Make a folder that does not exist."""

    path: str


class Copy(msgspec.Struct, frozen=True, tag="copy", tag_field="type"):
    """Copy a file or link of the revision."""

    source: str
    path: str


class Chmod(msgspec.Struct, frozen=True, tag="chmod", tag_field="type"):
    """Set the mode of something that the plan makes."""

    path: str
    mode: int


class Chown(msgspec.Struct, frozen=True, tag="chown", tag_field="type"):
    """Set owner and group of something that the plan makes."""

    path: str
    owner: str | None
    group: str | None


Instruction = Mkdir | Copy | Chmod | Chown


class Plan(msgspec.Struct, frozen=True):
    """Every instruction of one Install, in order."""

    instructions: list[Instruction]

    @property
    def made(self) -> list[str]:
        """The paths that it brings to the instance, in order: the cleanup manifest."""
        return [each.path for each in self.instructions if isinstance(each, Mkdir | Copy)]


def make(spec: AppSpec, archive: Path, on_instance: Callable[[str], Path]) -> Plan:
    """The plan that puts the unpacked `archive` on the instance. Raises InstallError where it cannot be done."""
    builder = _Builder(spec, on_instance)
    for mapping in spec.files:
        for source, path in _sources(archive / mapping.source, mapping.destination):
            builder.copy(source, path)
    for permission in spec.permissions:
        builder.permit(permission)
    return Plan([*builder.instructions, *builder.permissions])


def _sources(source: Path, destination: str) -> Iterator[tuple[Path, str]]:
    """(what, where to) of everything below `source`, folders before what they hold."""
    if not _is_folder(source):
        yield source, posixpath.join(destination, source.name)
        return
    yield source, destination
    for child in sorted(source.iterdir()):
        yield from _sources(child, posixpath.join(destination, child.name) if _is_folder(child) else destination)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class _Builder:
    def __init__(self, spec: AppSpec, on_instance: Callable[[str], Path]) -> None:
        self._spec = spec
        self._on_instance = on_instance
        self.instructions: list[Mkdir | Copy] = []
        self.permissions: list[Instruction] = []
        self._copies: dict[str, Path] = {}
        self._folders: set[str] = set()
        self._permitted: dict[str, int] = {}

    def copy(self, source: Path, path: str) -> None:
        if _is_folder(source):
            self._folder(path)
            return
        self._folder(posixpath.dirname(path))
        if path in self._copies:
            raise InstallError(f"{path} would come from two sources: {self._copies[path].name} twice in `files`")
        if path in self._folders:
            raise InstallError(f"{path} would be a file and a folder")
        self._copies[path] = source
        place = self._on_instance(path)
        if _is_folder(place):
            raise InstallError(f"{path} is a folder on the instance, the revision has a file there")
        if place.exists() or place.is_symlink():
            if self._spec.file_exists is FileExists.DISALLOW:
                raise InstallError(
                    f"{path} exists on the instance and was not put there by the last deployment; remove it, or set "
                    "file_exists_behavior to OVERWRITE or RETAIN in the AppSpec"
                )
            if self._spec.file_exists is FileExists.RETAIN:
                return
        self.instructions.append(Copy(str(source), path))

    def _folder(self, path: str) -> None:
        if path in self._folders or path == "/":
            return
        self._folder(posixpath.dirname(path))
        if path in self._copies:
            raise InstallError(f"{path} would be a file and a folder")
        place = self._on_instance(path)
        if not place.is_dir() and (place.exists() or place.is_symlink()):
            raise InstallError(f"{path} is a file on the instance, the revision needs a folder there")
        self._folders.add(path)
        if not place.is_dir():
            self.instructions.append(Mkdir(path))

    def permit(self, permission: Permission) -> None:
        """As in CodeDeploy: on a file object itself; on a folder object, what the plan puts below it."""
        if permission.object in self._copies:
            if permission.pattern != "**" or permission.excepts:
                raise InstallError(
                    f"{self._spec.file}:{permission.line}: permissions of the file {permission.object} take no pattern "
                    "and no except"
                )
            if "file" in permission.types:
                self._set(permission, permission.object)
            return
        base = permission.object.rstrip("/") + "/"
        made = [("directory" if isinstance(each, Mkdir) else "file", each.path) for each in self.instructions]
        for kind, path in made:
            below = path.removeprefix(base)
            if kind not in permission.types or below == path or not _matches(below, permission.pattern):
                continue
            if not any(_matches(below, each) for each in permission.excepts):
                self._set(permission, path)

    def _set(self, permission: Permission, path: str) -> None:
        if path in self._permitted:
            raise InstallError(
                f"{self._spec.file}:{permission.line}: permissions of {path} are given twice "
                f"(first on line {self._permitted[path]})"
            )
        self._permitted[path] = permission.line
        if permission.owner or permission.group:
            self.permissions.append(Chown(path, permission.owner, permission.group))
        if permission.mode is not None and not (path in self._copies and self._copies[path].is_symlink()):
            self.permissions.append(Chmod(path, permission.mode))


def _matches(below: str, pattern: str) -> bool:
    """`**` is everything; else one level, `*` for any part of a name."""
    if pattern == "**":
        return True
    return re.fullmatch("[^/]*".join(re.escape(part) for part in pattern.split("*")), below) is not None
