"""What the operating system refuses a user: a folder that cannot be made, a full disk. One place says it for all verbs.

An OSError is the user's to mend where a disk is full, or where its path is one that the user gave (it lies below it,
or on the way to it); any other is a fault of ours and stays one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sixfold import errors

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATH = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


class NoRoomError(errors.SixfoldError):
    """A disk is full, or the user's quota is used up."""


class UnusablePathError(errors.UsageError):
    """A path that the user gave, in an option or a variable, cannot be used."""


def explained(
    error: OSError, words: Sequence[str], variables: Mapping[str, str], *, default: Path
) -> errors.SixfoldError | None:
    """`error` as the user's to mend, None for a fault of ours.

    `words` are those of the command line, `variables` the environment, and `default` is the data folder where neither
    names one.
    """
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    data_dir = data_dir_of(words, variables) or default
    if error.errno in _FULL:
        where = path or f"what this command writes (its data folder is {data_dir})"
        return NoRoomError(f"there is no room on the disk for {where}; make room, then try again")
    if error.errno not in _PATH or not path:
        return None
    if _meets(path, data_dir):
        return UnusablePathError(
            f"the data folder {data_dir} cannot be used: {_why(error, path, data_dir)}; "
            "expected a folder that this user may write: give one with --data-dir"
        )
    for given in _given(words, variables):
        if _meets(path, given):
            return UnusablePathError(f"{given} cannot be used: {_why(error, path, given)}; check the path")
    return None


def data_dir_of(words: Sequence[str], variables: Mapping[str, str]) -> Path | None:
    """The data folder that the command line or the environment names."""
    found = ""
    for index, word in enumerate(words):  # the last one counts
        if word.startswith("--data-dir="):
            found = word.partition("=")[2]
        elif word == "--data-dir" and index + 1 < len(words):
            found = words[index + 1]
    found = found or variables.get("SIXFOLD_DATA_DIR", "")
    return Path(found) if found else None


def _given(words: Sequence[str], variables: Mapping[str, str]) -> Iterable[Path]:
    """Everything that could be a path: words, values of options, and files of functions."""
    for word in (*words, *variables.get("SIXFOLD_APP", "").split()):
        value = word.partition("=")[2] if word.startswith("-") else word
        if value:
            yield Path(value)
            yield Path(value.partition(":")[0])


def _meets(path: str, given: Path) -> bool:
    """Whether `path` is `given`, lies in it, or is a folder on the way to it."""
    mine, theirs = Path(os.path.abspath(path)), Path(os.path.abspath(given))
    return mine == theirs or theirs in mine.parents or mine in theirs.parents


def _why(error: OSError, path: str, given: Path) -> str:
    said = error.strerror or type(error).__name__
    return said if os.path.abspath(path) == os.path.abspath(given) else f"{path}: {said}"
