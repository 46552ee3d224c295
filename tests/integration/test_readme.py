"""The README as a newcomer follows it: every shell block, in order, in a clone of this repository."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.runtime.cli.commands import until

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
RUNNING = {"sixfold run examples/01-minimal/orders.py": "ready", "sixfold up": "Next"}
"""Commands that run until they are stopped, and what they say once the reader goes on in another terminal."""
SEEN = (
    '{"order_id":"o-1"}',
    "would emit order.accepted",
    "1000 records durable",
    "writes and reads",
    "Succeeded",
    "production",
    "plaintext: ",
    "are whole",
)
"""What the reader sees on the way, in this order."""


class Reader:
    """Somebody with a clone, and with `sixfold` on the path."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        home = folder / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIXFOLD_", "GIT_"))}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "HOME": str(home),
            "GIT_TERMINAL_PROMPT": "0",
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(self, line: str) -> None:
        """Run what goes on, in a terminal of its own, until it says that it serves."""
        words = line.split() + (["--port", "0"] if line == "sixfold up" else [])
        process = subprocess.Popen(
            words,
            cwd=self.clone,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        until(process, RUNNING[line])

    def run(self, block: str) -> str:
        """What a block prints; each of its commands must succeed."""
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(
            command, cwd=self.clone, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader, whose processes are stopped in the end."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        missing("the README is followed in a clone, and this is no working copy of git")
    made = Reader(tmp_path)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(made.clone)], check=True)
    yield made
    for process in reversed(made.started):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    # What was deployed belongs to the instances, which outlive the system as machines do.
    for state in made.clone.glob(".sixfold/deploy/instances/*/root/run/web.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(state.read_bytes())["pid"], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whoever_types_what_the_readme_shows_sees_it_work(reader: Reader) -> None:
    """No command fails, nothing is missing between two of them, and each shows what the text says."""
    seen = ""
    for block in BLOCKS:
        if block.strip() in RUNNING:
            reader.start(block.strip())
        elif not block.startswith("make "):
            seen += reader.run(block)
    assert len(reader.started) == len(RUNNING)
    at = 0
    for words in SEEN:
        at = seen.find(words, at)
        assert at >= 0, f"nothing says {words!r} where it should:\n{seen}"
    assert reader.run("sixfold down").strip() == "the system is stopped"
