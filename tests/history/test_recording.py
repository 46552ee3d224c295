"""Recording histories, and checking a recorded one again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.history import recording
from tests.history.making import op, serial
from tests.history.recording import Event, Operation
from tests.support.checkout import ROOT
from tests.support.waiting import eventually

from sixfold import clock as clocks

WRITES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from tests.history import recording
from sixfold import clock as clocks

with recording.Recorder(Path(sys.argv[1]), clocks.SystemClock()) as recorder:
    for number in itertools.count():
        recorder.complete(recorder.invoke(sys.argv[2], "write", "x", number), "ok")
"""


def test_events_are_put_together_by_invocation(tmp_path: Path) -> None:
    """What was asked, what was told, from when to when; without an answer nobody knows."""
    with recording.Recorder(tmp_path / "history", clocks.SystemClock()) as recorder:
        first = recorder.invoke("a", "read", "x", note="kept")
        other = recorder.invoke("b", "write", "x", 3)
        recorder.complete(first, "ok", 7, copy="a1")
        recorder.complete(other, "info")
        recorder.complete(recorder.invoke("a", "write", "y", 1), "fail")
        recorder.invoke("a", "cas", "x", [1, 2])
    found = recording.operations(recording.read(tmp_path / "history"))
    assert [(each.name, each.f, each.key, each.asked, each.told, each.outcome) for each in found] == [
        ("a#1", "read", "x", None, 7, "ok"),
        ("b#1", "write", "x", 3, None, "info"),
        ("a#2", "write", "y", 1, None, "fail"),
        ("a#3", "cas", "x", [1, 2], None, "info"),
    ]
    assert found[0].detail == {"note": "kept", "copy": "a1"}
    assert [each.completed_ns is None for each in found] == [False, True, False, True]


async def test_processes_that_share_a_file_and_are_killed_lose_no_event(tmp_path: Path) -> None:
    """Whatever moment they are killed at, every line is whole and each process's numbers have no gap."""
    path = tmp_path / "history"
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITES_FOR_EVER, path, name, cwd=ROOT)
        for name in ("a", "b")
    ]
    for name in ("a", "b"):
        await eventually(lambda: path.exists() and f'"{name}"'.encode() in path.read_bytes(), "events are there")  # noqa: B023
    for writer in writers:
        writer.kill()
        assert await writer.wait() == -signal.SIGKILL
    found = recording.operations(recording.read(path))
    for name in ("a", "b"):
        mine = [each for each in found if each.process == name]
        assert [each.number for each in mine] == list(range(1, len(mine) + 1))
        assert all(each.outcome == "ok" for each in mine[:-1])


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    """Its operation is then one of which nobody knows."""
    path = tmp_path / "history"
    with recording.Recorder(path, clocks.SystemClock()) as recorder:
        recorder.complete(recorder.invoke("a", "write", "x", 1), "ok")
    path.write_bytes(path.read_bytes()[:-5])
    [found] = recording.operations(recording.read(path))
    assert found.outcome == "info"


def event(type_: str, number: int, at_ns: int) -> Event:
    return Event(type=type_, process="a", number=number, at_ns=at_ns, f="read", key="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([event("invoke", 1, 0), event("invoke", 2, 1)], "begins #2 amid another"),
        (
            [event("invoke", 1, 0), event("ok", 1, 1), event("invoke", 1, 2)],
            "begins #1 amid another operation, or again",
        ),
        ([event("ok", 1, 1)], "completes #1, which it has not begun"),
    ],
)
def test_events_that_contradict_one_another_are_refused(events: list[Event], complaint: str) -> None:
    """A mistake of the recording is not taken for one of the system."""
    with pytest.raises(recording.BrokenHistoryError, match=complaint):
        recording.operations(events)


def write(path: Path, operations: list[Operation]) -> Path:
    """These operations as a history file."""
    lines = []
    for each in operations:
        invoked = Event(
            type="invoke",
            process=each.process,
            number=each.number,
            at_ns=each.invoked_ns,
            f=each.f,
            key=each.key,
            value=each.asked,
        )
        completed = Event(
            type=each.outcome,
            process=each.process,
            number=each.number,
            at_ns=each.completed_ns or each.invoked_ns,
            f=each.f,
            key=each.key,
            value=each.told,
        )
        lines += [invoked, completed]
    path.write_bytes(b"".join(recording.encode(line) for line in lines))
    return path


def command(path: Path) -> subprocess.CompletedProcess[str]:
    """`python -m tests.history PATH`."""
    return subprocess.run(
        [sys.executable, "-m", "tests.history", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_accepts_a_good_history(tmp_path: Path) -> None:
    """It says how much there was, and ends with 0."""
    history = [op("r", "write", 1, at=(0, 1)), op("r", "read", 1, at=(2, 3), number=2), *serial("x+1", "x=1")]
    done = command(write(tmp_path / "history", history))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "4 operations (4 ok): 1 registers, 2 transactions on lists",
        "every register is linearizable; the transactions are strictly serializable",
    ]


def test_the_command_tells_what_cannot_be_explained(tmp_path: Path) -> None:
    """A picture for a register, a cycle for lists; it ends with 1."""
    history = [op("r", "write", 1, at=(0, 1)), op("r", "read", 2, at=(2, 3), number=2), *serial("x+1", "x+2", "x=21")]
    done = command(write(tmp_path / "history", history))
    assert done.returncode == 1, done.stderr
    assert "G0-realtime: p0#1 -> p1#1 -> p0#1" in done.stdout
    assert "? r#2 read -> 2" in done.stdout


@pytest.mark.parametrize("content", [None, b"no history\n"])
def test_the_command_refuses_what_is_no_history(tmp_path: Path, content: bytes | None) -> None:
    """Without a traceback; it ends with 2."""
    path = tmp_path / "history"
    if content is not None:
        path.write_bytes(content)
    done = command(path)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr
