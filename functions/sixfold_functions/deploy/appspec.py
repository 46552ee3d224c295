"""The AppSpec: which files of a revision go where, with which permissions, and which scripts run when.

`parse` is strict: whatever it does not know is an error with file and line, since a typing slip in a deployment must
not be found out on the third instance. Source: AWS CodeDeploy user guide, "AppSpec file reference" (EC2/on-premises).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sixfold import document
from sixfold.document import Value
from sixfold_functions.deploy import lifecycle

FILE_NAMES = ("appspec.yaml", "appspec.yml")
"""Looked for, in this order, where the named file does not exist."""
TIMEOUT_S_MAX = 3600
"""Of all scripts of one lifecycle event together, as in CodeDeploy's limits."""
SCRIPTS_MAX = 50
"""Of one lifecycle event."""
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_MODE = re.compile(r"[0-7]{1,4}")


class FileExists(enum.Enum):
    """What Install does where a file of the revision already stands on the instance, by no doing of ours."""

    DISALLOW = "DISALLOW"
    OVERWRITE = "OVERWRITE"
    RETAIN = "RETAIN"


@dataclass(frozen=True)
class FileMapping:
    """`source` of the revision goes into the folder `destination`."""

    source: str
    """Relative to the revision, without leading slash; empty is all of it."""
    destination: str
    """Absolute folder on the instance."""
    line: int


@dataclass(frozen=True)
class Permission:
    """Owner, group and mode of what Install put below `object`."""

    object: str
    pattern: str
    excepts: tuple[str, ...]
    types: tuple[str, ...]
    """`file` and/or `directory`."""
    owner: str | None
    group: str | None
    mode: int | None
    line: int


@dataclass(frozen=True)
class Script:
    """One hook script."""

    location: str
    """Relative to the revision."""
    timeout_s: int
    runas: str | None
    line: int


@dataclass(frozen=True)
class AppSpec:
    """A whole, checked AppSpec."""

    file: str
    files: tuple[FileMapping, ...] = ()
    file_exists: FileExists = FileExists.DISALLOW
    permissions: tuple[Permission, ...] = ()
    hooks: Mapping[str, tuple[Script, ...]] = field(default_factory=dict)

    def missing(self, present: frozenset[str]) -> document.DocumentError | None:
        """The first source or script that `present` (paths of the revision, folders too) does not have."""
        for mapping in self.files:
            if mapping.source and mapping.source not in present:
                return document.DocumentError(
                    self.file, mapping.line, f"files: source {mapping.source!r} is not in the revision"
                )
        for event, scripts in self.hooks.items():
            for script in scripts:
                if script.location not in present:
                    return document.DocumentError(
                        self.file, script.line, f"hooks.{event}: script {script.location!r} is not in the revision"
                    )
        return None


def parse(text: bytes, file: str = "appspec.yml") -> AppSpec:
    """The AppSpec in `text`; `file` is its name in messages. Raises document.DocumentError."""
    top = document.read(text, file).fields(
        ("version", "os", "files", "file_exists_behavior", "permissions", "hooks"), required=("version", "os")
    )
    if top["version"].text() != "0.0":
        raise top["version"].error(f"expected 0.0, found {top['version'].text()!r}")
    top["os"].one_of(("linux",))
    behaviour = top.get("file_exists_behavior")
    return AppSpec(
        file=file,
        files=tuple(_file(value) for value in _list(top.get("files"))),
        file_exists=FileExists(behaviour.one_of([each.value for each in FileExists]))
        if behaviour
        else FileExists.DISALLOW,
        permissions=tuple(_permission(value) for value in _list(top.get("permissions"))),
        hooks=_hooks(top.get("hooks")),
    )


def _list(value: Value | None) -> list[Value]:
    return [] if value is None or value.empty else value.items()


def _file(value: Value) -> FileMapping:
    fields = value.fields(("source", "destination"), required=("source", "destination"))
    return FileMapping(_inside(fields["source"]), _absolute(fields["destination"]), value.line)


def _inside(value: Value) -> str:
    """A path of the revision: `/` is all of it, `/a` and `a` are the same, `..` is refused."""
    parts = [part for part in value.text().split("/") if part not in ("", ".")]
    if ".." in parts or any(not each.isprintable() for each in parts):
        raise value.error(f"expected a path within the revision, found {value.text()!r}")
    return "/".join(parts)


def _absolute(value: Value) -> str:
    text = value.text()
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not text.startswith("/") or ".." in parts or not text.isprintable():
        raise value.error(f"expected an absolute path without `..`, found {text!r}")
    return "/" + "/".join(parts)


def _permission(value: Value) -> Permission:
    fields = value.fields(("object", "pattern", "except", "type", "owner", "group", "mode"), required=("object",))
    types = tuple(each.one_of(("file", "directory")) for each in _list(fields.get("type")))
    mode = fields.get("mode")
    if mode is not None and not _MODE.fullmatch(mode.text()):
        raise mode.error(f"expected one to four octal digits such as 0644, found {mode.text()!r}")
    return Permission(
        object=_absolute(fields["object"]),
        pattern=fields["pattern"].text() if "pattern" in fields else "**",
        excepts=tuple(each.text() for each in _list(fields.get("except"))),
        types=types or ("file", "directory"),
        owner=_user(fields.get("owner")),
        group=_user(fields.get("group")),
        mode=int(mode.text(), 8) if mode else None,
        line=value.line,
    )


def _user(value: Value | None) -> str | None:
    if value is None:
        return None
    if not _USER.fullmatch(value.text()):
        raise value.error(f"expected the name of a user or group, found {value.text()!r}")
    return value.text()


def _hooks(value: Value | None) -> dict[str, tuple[Script, ...]]:
    hooks: dict[str, tuple[Script, ...]] = {}
    for event, scripts in {} if value is None or value.empty else value.entries().items():
        if event in lifecycle.UNSCRIPTABLE:
            raise scripts.error(f"no scripts can run at {event}; expected {', '.join(lifecycle.SCRIPTABLE)}")
        if event not in lifecycle.SCRIPTABLE:
            raise scripts.error(f"unknown lifecycle event; expected {', '.join(lifecycle.SCRIPTABLE)}")
        entries = _list(scripts)
        if len(entries) > SCRIPTS_MAX:
            raise scripts.error(f"{len(entries)} scripts; expected at most {SCRIPTS_MAX}")
        if entries:
            hooks[event] = tuple(_script(entry) for entry in entries)
        given_s = sum(
            int(each["timeout"].text()) for each in (entry.entries() for entry in entries) if "timeout" in each
        )
        if given_s > TIMEOUT_S_MAX:
            raise scripts.error(f"timeouts add up to {given_s} s; expected at most {TIMEOUT_S_MAX} s for one event")
    return hooks


def _script(value: Value) -> Script:
    fields = value.fields(("location", "timeout", "runas"), required=("location",))
    location = _inside(fields["location"])
    if not location:
        raise fields["location"].error("expected the path of a script within the revision")
    timeout = fields.get("timeout")
    return Script(
        location=location,
        timeout_s=timeout.number(1, TIMEOUT_S_MAX) if timeout else TIMEOUT_S_MAX,
        runas=_user(fields.get("runas")),
        line=value.line,
    )
