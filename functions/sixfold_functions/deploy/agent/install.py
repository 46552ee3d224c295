"""Install: undo what the last revision put on the instance, then carry out the plan for the new one.

Crash points. The manifest is durable before the first path is made, so whatever a crash leaves is known to the next
deployment; undoing is idempotent, and the old manifest goes only after all of it is undone.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import shutil
from pathlib import Path

import msgspec

from sixfold_functions.deploy.agent import plan as plans
from sixfold_functions.deploy.agent.folder import Folder, write
from sixfold_functions.deploy.appspec import AppSpec

_NEW = ".sixfold-new"
"""Ending of a file that is being copied; it takes its own name when it is whole."""


def install(folder: Folder, group_id: str, spec: AppSpec, archive: Path) -> plans.Plan:
    """Put `archive` on the instance. Raises plans.InstallError, OutsideRootError or OSError."""
    undo(folder, group_id)
    plan = plans.make(spec, archive, folder.on_instance)
    write(folder.plan(group_id), msgspec.json.encode(plan))
    write(folder.cleanup(group_id), "".join(f"{path}\n" for path in plan.made).encode())
    for instruction in plan.instructions:
        _carry_out(folder, instruction)
    return plan


def undo(folder: Folder, group_id: str) -> None:
    """Remove what the manifest names, newest first; folders only where they are empty. Without one, nothing."""
    manifest = folder.cleanup(group_id)
    try:
        text = manifest.read_text()
    except FileNotFoundError:
        return
    # A last line without its newline was torn by a crash: what it names was not made.
    for path in reversed(text.split("\n")[:-1]):
        if not path:
            continue
        place = folder.on_instance(path)
        place.with_name(place.name + _NEW).unlink(missing_ok=True)
        if place.is_dir() and not place.is_symlink():
            try:
                place.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        else:
            with contextlib.suppress(NotADirectoryError):
                place.unlink(missing_ok=True)
    manifest.unlink()


def _carry_out(folder: Folder, instruction: plans.Instruction) -> None:
    place = folder.on_instance(instruction.path)
    match instruction:
        case plans.Mkdir():
            place.mkdir(exist_ok=True)
        case plans.Copy():
            new = place.with_name(place.name + _NEW)
            new.unlink(missing_ok=True)
            shutil.copy(instruction.source, new, follow_symlinks=False)
            new.replace(place)
        case plans.Chmod():
            place.chmod(instruction.mode)
        case plans.Chown():
            _chown(place, instruction)


def _chown(place: Path, wanted: plans.Chown) -> None:
    try:
        owner = pwd.getpwnam(wanted.owner).pw_uid if wanted.owner else -1
        group = grp.getgrnam(wanted.group).gr_gid if wanted.group else -1
    except KeyError as error:
        raise plans.InstallError(f"permissions of {wanted.path}: {error.args[0]} on this instance") from None
    try:
        os.chown(place, owner, group, follow_symlinks=False)
    except PermissionError:
        raise plans.InstallError(
            f"permissions of {wanted.path}: only root may give files to {wanted.owner}:{wanted.group}; "
            "run the agent as root, or leave owner and group out"
        ) from None
