"""Logs are JSON lines of bounded size, and hold no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sixfold.telemetry import logs


def run(program: str, path: Path) -> list[dict[str, Any]]:
    """The lines that a process of its own logs to `path`."""
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in path.read_text().splitlines()]


PROGRAM = """
import logging, sys, warnings
from pathlib import Path
import structlog
from sixfold.telemetry import logs
logs.to_file(Path(sys.argv[1]), process="this")
log = structlog.get_logger()
log.debug("too fine")
log.info("published", action="publish", count=3, topic="orders", key="k-1", big=1.5, place=Path("/x"), data=b"ab")
log.warning("called", token="tok-123", headers={"Authorization": "Bearer abcdefghijkl"}, text="Bearer abcdefghijkl")
log.info("nested", request={"inner": [{"client_secret": "hush"}]}, data_key="hush", passphrase="hush")
logging.getLogger("library").warning("says %s", "this")
logging.getLogger("library").info("says too much")
warnings.warn("beware")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed", action="failed")
"""


def test_a_line_is_json_with_what_was_bound_and_without_secrets(tmp_path: Path) -> None:
    """Machines can read every line; values under secret names, and bearer tokens in text, are hidden."""
    lines = run(PROGRAM, tmp_path / "this.log")
    assert [line["event"] for line in lines][:4] == ["published", "called", "nested", "says this"]
    assert all(line["process"] == "this" and line["timestamp"] for line in lines)
    assert lines[0]["key"] == "k-1"
    text = (tmp_path / "this.log").read_text()
    for secret in ("tok-123", "abcdefghijkl", "hush"):
        assert secret not in text
    assert "beware" in text
    assert "ZeroDivisionError" in lines[-1]["exception"]
    assert (tmp_path / "this.log").stat().st_mode & 0o777 == 0o600


def test_a_log_never_grows_past_its_bound(tmp_path: Path) -> None:
    """The former file is kept, older ones are not; no line is torn."""
    path = tmp_path / "small.log"
    file = logs.BoundedFile(path, bytes_max=1000)
    for number in range(500):
        file.write(f"line {number:04}\n")
    file.close()
    assert path.stat().st_size <= 1000
    assert path.with_name("small.log.1").stat().st_size <= 1000
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.log", "small.log.1"]
    assert path.read_text().splitlines()[-1] == "line 0499"


REDIRECT = """
import os, sys
from pathlib import Path
from sixfold.telemetry import logs
file = logs.BoundedFile(Path(sys.argv[1]), bytes_max=200, redirect=True)
for number in range(100):
    file.write(f"line {number}\\n")
print("a stray print", flush=True)
os.system("echo a child of it")
"""


def test_stray_output_follows_the_log_through_its_rotations(tmp_path: Path) -> None:
    """A print, or what a child writes, lands in the newest file."""
    path = tmp_path / "process.log"
    subprocess.run([sys.executable, "-c", REDIRECT, str(path)], check=True)
    assert path.read_text().splitlines()[-2:] == ["a stray print", "a child of it"]


@pytest.mark.parametrize("name", ["SessionToken", "secret_access_key", "Authorization", "password", "jwt", "cookie"])
def test_a_value_under_a_secret_name_is_hidden_whatever_its_form(name: str) -> None:
    """Text, bytes or a structure."""
    for value in ("x", b"x", {"a": "x"}, ["x"], 7):
        assert logs.hide(None, "info", {name: value}) == {name: logs.HIDDEN}
