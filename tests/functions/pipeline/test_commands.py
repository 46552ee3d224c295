"""`sixfold pipeline …` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.functions.git.client import Git
from tests.functions.pipeline import world as worlds
from tests.functions.pipeline.world import World, yaml
from typer.testing import CliRunner, Result

from sixfold import running
from sixfold.bus import opening
from sixfold.cli.main import app
from sixfold.clock import SystemClock
from sixfold.process import Process
from sixfold.testing import Harness
from sixfold_events import pipeline as events
from sixfold_events.registry import Registry
from sixfold_functions.pipeline.history import History
from sixfold_functions.pipeline.topics import TOPICS

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def sixfold(data_dir: Path, *arguments: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, ["--data-dir", str(data_dir), *arguments])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder where one execution failed in its build, and one at its definition."""
    folder = tmp_path / "data"
    folder.mkdir()

    async def happen() -> None:
        harness = Harness(*worlds.FUNCTIONS, data_dir=folder, events=worlds.EVENTS, topics=[*TOPICS, worlds.GIT_TOPIC])
        async with harness:
            world = await worlds.world(tmp_path, folder, harness.bus)
            await world.push("version: 1\nstages: []\n")
            await harness.until_idle()
            await world.push(yaml("echo the reason; exit 7"))
            await harness.until_idle()

    run(happen())
    return folder


def test_executions_are_listed_shown_and_retried(data_dir: Path) -> None:
    """list and show give the same document to machines and a drawing to people; retry asks once more."""
    listed = json.loads(sixfold(data_dir, "pipeline", "list", "--json").stdout)
    assert [each["status"] for each in listed] == ["Failed", "Failed"]
    newest, broken = listed
    assert "pipeline.yaml:1: name is missing" in broken["reason"]
    assert newest["execution"] in sixfold(data_dir, "pipeline", "list").stdout
    shown = sixfold(data_dir, "pipeline", "show", newest["execution"], "--json")
    assert (shown.exit_code, json.loads(shown.stdout)) == (0, newest)
    drawn = sixfold(data_dir, "pipeline", "show", "web").stdout
    assert "exit code 7" in " ".join(drawn.split())
    assert "  the reason" in drawn
    followed = sixfold(data_dir, "pipeline", "show", "web", "--commit", newest["commit"], "--follow", "--json")
    assert (followed.exit_code, json.loads(followed.stdout)) == (1, newest)
    logs = sixfold(data_dir, "pipeline", "logs", "web").stdout.splitlines()
    assert logs[-2:] == ["the reason", "== command 1 of 1 (echo the reason; exit 7) ended with exit code 7"]
    lines = [json.loads(line) for line in sixfold(data_dir, "pipeline", "logs", "web", "--json").stdout.splitlines()]
    assert [each["text"] for each in lines] == logs
    assert {(each["stage"], each["action"]) for each in lines} == {("build", "build")}
    retried = sixfold(data_dir, "pipeline", "retry", newest["execution"], "--json")
    assert (retried.exit_code, json.loads(retried.stdout)["execution"]) == (0, newest["execution"])

    async def go_on() -> int:
        async with opening.open_bus(data_dir=data_dir) as bus:
            process = Process(name="functions", data_dir=data_dir, registry=Registry(worlds.EVENTS), bus=bus)
            work = asyncio.create_task(running.run_functions(process, worlds.FUNCTIONS, stopping=process.stopping))
            async with bus.subscribe("watch", [events.TOPIC]) as consumer:
                failures = 0
                while failures < 3:
                    for records in (await consumer.fetch()).values():
                        for record in records:
                            event = process.registry.decode(record.value, record.headers)
                            failures += isinstance(event, events.PipelineFailed)
            process.stopping.set()
            await work
            return failures

    assert run(go_on()) == 3


def test_an_execution_that_runs_is_stopped_and_the_next_one_begins(data_dir: Path) -> None:
    """stop fails it at its present action, whoever carries that out; one that has ended cannot be stopped."""
    build = ("mkdir dist", "echo 1 > dist/version")

    async def happen(*pushes: str) -> list[tuple[str, str]]:
        harness = Harness(
            *worlds.FUNCTIONS,
            data_dir=data_dir,
            clock=SystemClock(),
            events=worlds.EVENTS,
            topics=[*TOPICS, worlds.GIT_TOPIC],
        )
        async with harness:
            home = data_dir.parent / "home"
            world = World(data_dir, Git(home, data_dir), home / "work", harness.bus)
            for note in pushes:
                await world.push(yaml(*build), note=note)
            await harness.until_idle()
            async with History(harness.process) as history:
                return [(each.status, each.reason) for each in history.view.executions.values()][2:]

    assert [status for status, _ in run(happen("1"))] == ["InProgress"]
    running = json.loads(sixfold(data_dir, "pipeline", "list", "--json").stdout)[0]["execution"]
    assert [status for status, _ in run(happen("2"))] == ["InProgress", "Waiting"]
    stopped = sixfold(data_dir, "pipeline", "stop", running, "--json")
    assert (stopped.exit_code, json.loads(stopped.stdout)["execution"]) == (0, running)
    (first, reason), (second, _) = run(happen())
    assert (first, reason, second) == ("Failed", "deploy was stopped by operator:cli", "InProgress")
    refused = sixfold(data_dir, "pipeline", "stop", running)
    assert (refused.exit_code, "only one that is InProgress" in " ".join(refused.stderr.split())) == (2, True)


def test_what_cannot_be_done_says_what_to_do(data_dir: Path, tmp_path: Path) -> None:
    """An unknown execution, one that never began, an empty data folder: exit code 2 and a way on, or an empty list."""
    unknown = sixfold(data_dir, "pipeline", "show", "nothing")
    assert (unknown.exit_code, "there is no execution 'nothing'" in unknown.stderr) == (2, True)
    broken = json.loads(sixfold(data_dir, "pipeline", "list", "--json").stdout)[1]
    refused = sixfold(data_dir, "pipeline", "retry", broken["execution"])
    assert (refused.exit_code, "mend that and push again" in " ".join(refused.stderr.split())) == (2, True)
    assert json.loads(sixfold(tmp_path / "empty", "pipeline", "list", "--json").stdout) == []
