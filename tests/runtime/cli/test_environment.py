"""What the operating system refuses is one line that says what to do; a fault of ours is still told apart."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.cli.commands import Sixfold
from tests.support import disks

from sixfold import errors
from sixfold.cli import environment


def unusable(tmp_path: Path) -> dict[str, str]:
    """Data folders that nobody can make, each for another reason."""
    file = tmp_path / "file"
    file.write_text("")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    return {
        "no such parent": "/proc/nope",
        "a file": str(file),
        "below a file": str(file / "below"),
        "too long": str(tmp_path / ("x" * 300)),
        "a circle": str(circle / "below"),
    }


VERBS = ["topics", "tail t", "run pipeline.source", "run volume.writer", "up --port 0", "up --port 0 --detach"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_data_folder_that_cannot_be_used_is_one_line_that_says_what_to_do(
    sixfold: Sixfold, tmp_path: Path, verb: str
) -> None:
    """Exit code 2, the folder and the option are named, and nothing says that Sixfold is at fault."""
    cases = unusable(tmp_path)
    for name, folder in cases.items() if verb == "topics" else [*cases.items()][:1]:
        done = sixfold.run("--data-dir", folder, *verb.split())
        assert done.returncode == 2, (name, done.stderr)
        assert len(done.stderr.splitlines()) == 1, (name, done.stderr)
        assert done.stderr.startswith(f"error: the data folder {folder} cannot be used"), name
        assert "--data-dir" in done.stderr, name


def test_a_path_that_was_given_is_named_whatever_its_option(sixfold: Sixfold) -> None:
    """A folder for schemas that cannot be made is the caller's, as the data folder is."""
    said = sixfold.bad("--app", str(sixfold.app), "schema", "freeze", "--folder", "/proc/nope", code=2)
    assert said.startswith("error: /proc/nope cannot be used: ")
    assert len(said.splitlines()) == 1


def test_a_data_folder_on_a_disk_that_is_read_only_is_said(sixfold: Sixfold, tmp_path: Path) -> None:
    """A disk that the system has set to read-only after a fault is no traceback."""
    with disks.small(tmp_path / "small", size="1m") as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        said = sixfold.bad("--data-dir", str(folder / "data"), "topics", code=2)
    assert "Read-only file system" in said


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with no room at all."""
    with disks.small(tmp_path / "small", size="1m") as folder:
        disks.fill(folder / "ballast")
        yield folder


@pytest.mark.parametrize("verb", ["topics", "up --port 0", "up --port 0 --detach", "run pipeline.source"])
def test_a_full_disk_is_one_line_that_asks_for_room(sixfold: Sixfold, full_disk: Path, verb: str) -> None:
    """Exit code 1: the command was right, the disk is not."""
    done = sixfold.run("--data-dir", str(full_disk / "data"), *verb.split())
    assert done.returncode == 1
    assert "make room" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error")]) == 1
    for word in ("Traceback", "fault in Sixfold"):
        assert word not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room_is_said(sixfold: Sixfold, unbuffered: str) -> None:
    """`sixfold … > file` on a full disk, whether Python's own streams have a buffer or, as in containers, none."""
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    for form in ([], ["--json"]):
        with Path("/dev/full").open("wb") as full:
            command = [*sixfold.command, "functions", *form]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ, check=False)
        assert done.returncode == 1
        assert "make room" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_expected_failure_of_a_service_is_one_line_at_a_terminal(sixfold: Sixfold) -> None:
    """No log line of the failure beside it, and no traceback."""
    done = sixfold.spawn("run", "gateway", "--port", "x")
    assert done.returncode == 2
    assert "expected a number, found 'x'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "failed" not in done.stderr


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), environment.NoRoomError),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/anywhere"), environment.NoRoomError),
        (OSError(errno.EACCES, "Permission denied", "/data/run/x.lock"), environment.UnusablePathError),
        (OSError(errno.EPERM, "Operation not permitted", "/data"), environment.UnusablePathError),
        (OSError(errno.EACCES, "Permission denied", "/given/file.json"), environment.UnusablePathError),
        (OSError(errno.EACCES, "Permission denied", "/apps/mine.py"), environment.UnusablePathError),
        (OSError(errno.EACCES, "Permission denied", "/valued"), environment.UnusablePathError),
        (OSError(errno.ENOENT, "No such file or directory", f"{sys.prefix}/schemas"), None),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (OSError(errno.EBADF, "Bad file descriptor", "/data/x"), None),
        (OSError(errno.ECONNREFUSED, "Connection refused"), None),
    ],
)
def test_only_what_the_user_gave_is_the_users_to_mend(error: OSError, kind: type[errors.SixfoldError] | None) -> None:
    """A file of ours that is missing, and a descriptor that is wrong, stay faults of Sixfold."""
    words = ["--data-dir", "/data", "verb", "--file", "/given/file.json", "--out=/valued"]
    found = environment.explained(error, words, {"SIXFOLD_APP": "/apps/mine.py:app"}, default=Path(".sixfold"))
    assert type(found) is (kind or type(None))


def test_the_data_folder_is_found_as_the_command_line_finds_it() -> None:
    """The option in both forms, then the variable."""
    variables = {"SIXFOLD_DATA_DIR": "/variable"}
    assert environment.data_dir_of(["--data-dir", "/a", "topics"], variables) == Path("/a")
    assert environment.data_dir_of(["--data-dir", "/a", "--data-dir=/b"], variables) == Path("/b")
    assert environment.data_dir_of(["topics"], variables) == Path("/variable")
    assert environment.data_dir_of(["topics"], {}) is None
