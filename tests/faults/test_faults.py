"""Real faults on real processes: a short run on each bus, and that what is broken on purpose is found out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import missing
from tests.history import lists, recording
from tests.support.checkout import ROOT

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def run(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """`python -m tests.faults …`: its exit code, its summary and all that it said."""
    command = [sys.executable, "-m", "tests.faults", "--folder", str(folder / "run"), *words]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=580, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def check(folder: Path, faults: set[str], code: int, summary: dict[str, Any], said: str) -> None:
    """Everything held, these faults hit, and each client had answers before and after them."""
    assert code == 0, said
    assert summary["violations"] == 0
    assert faults <= {*summary["hits"], *summary["left_out"]}, said
    assert summary["operations"]["ok"] >= 16, said
    assert not (folder / "run").exists(), "nothing is kept of a run in which all held"
    if summary["left_out"]:
        missing(f"some faults were left out: {summary['left_out']}")


def test_a_volume_keeps_its_word_through_faults_on_the_embedded_bus(tmp_path: Path) -> None:
    """The log's owner is killed, a paused writer is followed and wakes up, a disk is full, the quorum is lost."""
    faults = {"owner of the log killed", "writer followed while paused", "writer killed", "disk full", "quorum lost"}
    check(tmp_path, faults, *run(tmp_path, "--bus", "embedded", "--rounds", "4", "--seed", "2566"))


@pytest.mark.kafka
def test_a_volume_keeps_its_word_through_faults_on_kafka(tmp_path: Path) -> None:
    """The broker is killed too, and a zone's network is cut."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no broker of its own can be started for this run")
    faults = {
        "broker killed",
        "broker paused",
        "zone cut off",
        "zone killed",
        "writer followed while paused",
        "disk full",
    }
    check(tmp_path, faults, *run(tmp_path, "--bus", "kafka", "--rounds", "4", "--seed", "3980"))


def test_clients_that_read_stale_or_tear_transactions_are_found_out(tmp_path: Path) -> None:
    """The one by a register that is not linearizable, the other by a cycle; the history is kept, and says it again."""
    code, summary, said = run(tmp_path, "--rounds", "1", "--seed", "3668", "--broken-clients")
    assert code == 1, said
    assert "not linearizable" in summary["anomalies"]
    assert set(summary["anomalies"]) - {"not linearizable"}, said
    history = tmp_path / "run" / "history.jsonl"
    assert f"python -m tests.history {history}" in said
    again = subprocess.run([sys.executable, "-m", "tests.history", history], cwd=ROOT, capture_output=True, check=False)
    assert again.returncode == 1
    assert lists.transactions(recording.operations(recording.read(history)))


def test_a_writer_that_forgets_what_its_predecessor_took_is_found_out(tmp_path: Path) -> None:
    """Its requests are appended again: elements are there twice."""
    code, summary, said = run(tmp_path, "--rounds", "1", "--seed", "3668", "--mutation", "forget-requests")
    assert code == 1, said
    assert summary["hits"]["writer killed"] == 1
    assert "is there 2 times" in said
    assert "duplicate elements" in summary["anomalies"]
