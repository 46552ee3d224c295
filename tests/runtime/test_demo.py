"""The demonstration's rules that need no running system: which folder it takes, what it ends, which execution it means."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sixfold import bus
from sixfold.clock import SystemClock
from sixfold.demo import place, processes, watching
from sixfold.supervisor import hosting, tree
from sixfold_events import pipeline

CLOCK = SystemClock()
IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 1000; done"


@contextlib.contextmanager
def shell(text: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that runs `text`, once it has said that it is ready."""
    with subprocess.Popen(["sh", "-c", text], env=os.environ | environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of an earlier demonstration, with something in it."""
    folder = place.folder_of(tmp_path, "embedded:")
    (folder / "bus").mkdir(parents=True)
    (folder / "bus" / "lock").touch()
    (folder / place.MARK).touch()
    return folder


def test_each_cluster_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """What lies in it belongs to that cluster's keys and volume."""
    urls = ("embedded:", "kafka://127.0.0.1:9092", "kafka://127.0.0.1:9093", "kafka://b1:9092,b2:9092")
    folders = [place.folder_of(tmp_path, url) for url in urls]
    assert len(set(folders)) == len(urls)
    assert {each.parent for each in folders} == {tmp_path}


async def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path) -> None:
    """A user's own folder of the same name is refused, not replaced."""
    theirs = tmp_path / place.FOLDER / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(place.PlaceError, match="was not made by a demonstration"):
        await place.prepare(theirs.parent, "embedded:", CLOCK)
    assert theirs.read_text() == "years of work"


async def test_what_an_earlier_run_left_is_replaced_and_its_services_are_ended(made: Path) -> None:
    """A demonstration that was killed by kill -9 leaves its web services; they do not outlive their folder."""
    root = made / "deploy" / "instances" / "i-1" / "root"
    with shell(IGNORES_TERM.replace("trap '' TERM; ", ""), INSTANCE_ROOT=str(root)) as service:
        assert await place.prepare(made, "embedded:", CLOCK) is False
        assert await asyncio.to_thread(service.wait, 10) == -15
    assert os.listdir(made) == [place.MARK]
    assert os.listdir(made.parent) == [made.name]


async def test_a_folder_in_use_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has the bus open would go on writing into what is thrown away."""
    monkeypatch.setattr(hosting, "LOCK_WAIT_S", 0.1)
    with (made / "bus" / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(place.PlaceError, match=r"a process still uses .* \(it holds bus/lock\)"):
            await place.prepare(made, "embedded:", CLOCK)
    assert (made / "bus").is_dir()


async def test_a_cluster_that_does_not_answer_costs_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the folder is still needed is then unknown, so it stays."""
    monkeypatch.setattr(tree, "BUS_WAIT_S", 0.3)
    url = "kafka://127.0.0.1:1"
    folder = place.folder_of(tmp_path, url)
    (folder / "kms").mkdir(parents=True)
    (folder / place.MARK).touch()
    with pytest.raises(bus.BusUnavailableError, match=r"kafka://127.0.0.1:1|127.0.0.1:1"):
        await place.prepare(folder, url, CLOCK)
    assert (folder / "kms").is_dir()


async def test_a_process_that_ignores_sigterm_is_killed() -> None:
    """Gently first, then by force; what was there before is not touched."""
    with shell(IGNORES_TERM) as before:
        not_ours = frozenset(processes.descendants())
        with shell(IGNORES_TERM) as stubborn:
            assert stubborn.pid in processes.descendants()
            await processes.end(lambda: processes.descendants(but=not_ours), CLOCK, gentle_s=0.2)
            assert stubborn.wait(10) == -9
        assert before.poll() is None


def triggered(repository: str, commit: str, execution: str) -> pipeline.PipelineTriggered:
    return pipeline.PipelineTriggered(
        pipeline=repository,
        execution=execution,
        name="web",
        repository=repository,
        ref="refs/heads/main",
        commit=commit,
        pusher="ada",
        definition="{}",
        problem="",
        triggered_at_ms=1,
    )


def failed(repository: str, execution: str) -> pipeline.PipelineFailed:
    return pipeline.PipelineFailed(
        pipeline=repository, execution=execution, stage="build", action="web", reason="no", at_ms=1
    )


def test_only_the_execution_of_this_push_is_followed() -> None:
    """The same commit in an earlier run's repository, and another execution's end, say nothing about this one."""
    push, outcome = watching.Push("sixfold-2", "c1", {}), watching.Outcome()
    watching.fold(outcome, triggered("sixfold", "c1", "old"), push)
    watching.fold(outcome, failed("sixfold", "old"), push)
    assert outcome == watching.Outcome()
    watching.fold(outcome, triggered("sixfold-2", "c1", "new"), push)
    watching.fold(outcome, failed("sixfold", "old"), push)
    assert outcome == watching.Outcome(execution="new")
    watching.fold(outcome, pipeline.PipelineSucceeded(pipeline="sixfold-2", execution="new", at_ms=2), push)
    assert outcome == watching.Outcome(execution="new", ended=True)
