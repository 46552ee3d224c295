"""The environment of every git process that serves a client: an allow-list, and configuration by environment.

Configuration by environment (`GIT_CONFIG_COUNT`, git 2.31 and later) overrides what a repository's own file says, so
nothing that lies in a repository can switch a hook on or a check off.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sixfold import errors
from sixfold_functions.git.settings import GitSettings

VERSION_MIN = (2, 31)
_PASSED_ON = ("PATH", "TMPDIR", "TZ", "SYSTEMROOT")
_PROTOCOL = re.compile(r"[a-z0-9.=:-]{1,200}")


class GitMissingError(errors.SixfoldError):
    """No git, or one that is too old, on this machine."""


@functools.cache
def version() -> tuple[int, int]:
    """Version of the git on PATH. Raises GitMissingError where there is none or it is older than 2.31."""
    program = shutil.which("git")
    if program is None:
        raise GitMissingError("git is not on PATH; install git 2.31 or later (apt install git)")
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < VERSION_MIN:
        raise GitMissingError(f"{program} is {text.strip()}; expected git 2.31 or later")
    return number


def plain(**extra: str) -> dict[str, str]:
    """The allow-listed environment: no user's or system's configuration, no prompts, no credentials."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    fixed = {
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    return {**passed, **fixed, **extra}


def serving(repository: Path, settings: GitSettings, *, pusher: str = "", protocol: str = "") -> dict[str, str]:
    """The environment of `upload-pack`, `receive-pack` and `gc` in `repository`.

    `pusher` is written into the reflog; `protocol` is the client's `Git-Protocol` header, dropped unless it is one.
    """
    names = {"GIT_COMMITTER_NAME": pusher or "sixfold", "GIT_COMMITTER_EMAIL": "sixfold@localhost"}
    if protocol and _PROTOCOL.fullmatch(protocol):
        names["GIT_PROTOCOL"] = protocol
    return plain(**names, **as_environment(configuration(repository, settings)))


def configuration(repository: Path, settings: GitSettings) -> dict[str, str]:
    """What git is told for every call, whatever the repository's own file says."""
    durable = {"core.fsync": "all"} if version() >= (2, 36) else {"core.fsyncObjectFiles": "true"}
    return {
        "safe.directory": str(repository),
        **durable,
        # The journal of moves: `core.py` reads it. Never expired, since offsets into it are kept.
        "core.logAllRefUpdates": "always",
        "gc.reflogExpire": "never",
        "gc.reflogExpireUnreachable": "never",
        "core.hooksPath": os.devnull,
        "http.receivepack": "true",
        "uploadpack.allowFilter": "true",
        # What protocol version 2 allows anyway; a partial clone by an older version needs it.
        "uploadpack.allowAnySHA1InWant": "true",
        "receive.fsckObjects": "true",
        "receive.maxInputSize": str(settings.pack_bytes_max),
        # A push stays one pack: two fsyncs instead of one for each object.
        "receive.unpackLimit": "1",
        # Housekeeping runs under our own hand, not as a daemon of a push.
        "receive.autogc": "false",
        "gc.autoDetach": "false",
        "receive.advertisePushOptions": "false",
    }


def as_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Configuration as git's `GIT_CONFIG_COUNT`, `GIT_CONFIG_KEY_n`, `GIT_CONFIG_VALUE_n`."""
    environment = {"GIT_CONFIG_COUNT": str(len(values))}
    for index, (key, value) in enumerate(values.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment
