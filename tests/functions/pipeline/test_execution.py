"""From a push to a deployment: the real functions on the embedded bus, real repositories, real builds."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from tests.functions.pipeline import world as worlds
from tests.functions.pipeline.world import World, yaml
from tests.support.waiting import eventually

from sixfold import objects
from sixfold.bus import opening, port
from sixfold.clock import SystemClock
from sixfold.process import Process
from sixfold.testing import Harness
from sixfold_events import pipeline as events
from sixfold_events.deploy import DeploymentFinished, DeploymentRequested
from sixfold_events.git import GitPushed
from sixfold_events.registry import Registry
from sixfold_functions.pipeline import builder, commandline, handler
from sixfold_functions.pipeline.history import History
from sixfold_functions.pipeline.topics import TOPICS
from sixfold_functions.pipeline.view import ExecutionView

BUILD = ("mkdir -p dist && git rev-parse HEAD > dist/version", "cp note dist/")


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    running = Harness(
        *worlds.FUNCTIONS,
        data_dir=data_dir,
        clock=SystemClock(),
        events=worlds.EVENTS,
        topics=[*TOPICS, worlds.GIT_TOPIC],
    )
    async with running as started:
        yield started


@pytest.fixture
async def world(tmp_path: Path, harness: Harness) -> World:
    return await worlds.world(tmp_path, harness.data_dir, harness.bus)


async def shown(process: Process) -> list[ExecutionView]:
    async with History(process) as history:
        return list(history.view.executions.values())


def finished(request: DeploymentRequested, status: str, reason: str = "") -> DeploymentFinished:
    return DeploymentFinished(
        deployment_id=request.deployment_id,
        application=request.application,
        group=request.group,
        revision=request.revision,
        creator=request.creator,
        status=status,
        reason=reason,
    )


async def test_a_push_is_built_and_deployed(harness: Harness, world: World) -> None:
    """Source, build in a working copy of exactly the commit, artifact in the store, deployment asked for, Succeeded."""
    commit = await world.push(yaml(*BUILD), note="hello\n")
    await harness.until_idle()
    (request,) = await harness.emitted(DeploymentRequested)
    assert (request.revision, request.application, request.group) == (commit, "web", "production")
    store = objects.FolderObjects(harness.data_dir / "artifacts")
    with tarfile.open(fileobj=BytesIO(await store.get(request.artifact))) as archive:
        assert archive.getnames() == ["note", "version"]
        version = archive.extractfile("version")
        assert version is not None
        assert version.read().decode().strip() == commit
    await harness.publish(finished(request, "Succeeded"))
    await harness.until_idle()
    (execution,) = await shown(harness.process)
    assert (execution.status, execution.commit, execution.name) == ("Succeeded", commit, "web")
    assert [(stage.name, stage.status) for stage in execution.stages] == [
        ("source", "Succeeded"),
        ("build", "Succeeded"),
        ("deploy", "Succeeded"),
    ]
    progress = [event.text for event in await harness.emitted(events.ActionProgressed)]
    assert progress == [*BUILD, "packing dist"]
    for function in worlds.FUNCTIONS:
        assert await harness.dead_letters(function) == []


async def test_the_same_push_delivered_again_starts_nothing(harness: Harness, world: World) -> None:
    """The execution's id comes from the push event's id, so a duplicate of the event is no second execution."""
    await world.push(yaml(*BUILD), note="hello\n")
    await harness.until_idle()
    (record,) = await harness.records(GitPushed.__event__.topic)
    await harness.publish_records(port.NewRecord(record.topic, record.value, record.key, record.headers))
    await harness.until_idle()
    assert len(await harness.emitted(DeploymentRequested)) == 1
    assert len(await harness.emitted(events.PipelineStarted)) == 1


async def test_a_failing_command_fails_the_execution_with_the_end_of_its_log(harness: Harness, world: World) -> None:
    """The reason names the command and its exit code, the event has the last lines, a retry goes on there."""
    await world.push(yaml("echo before", "echo the reason >&2; exit 3", "echo never"))
    await harness.until_idle()
    (failed,) = await harness.emitted(events.ActionFailed)
    assert failed.reason == "command 2 of 3 (echo the reason >&2; exit 3) ended with exit code 3"
    assert "before" in failed.log_tail
    assert "the reason" in failed.log_tail
    assert "never" not in failed.log_tail
    (execution,) = await shown(harness.process)
    assert (execution.status, execution.reason) == ("Failed", failed.reason)
    assert await harness.emitted(DeploymentRequested) == []
    again = events.PipelineRetryRequested(
        pipeline="web", execution=execution.execution, failed=failed.action_execution, requested_by="test"
    )
    await harness.publish(again)
    await harness.publish(again)
    await harness.until_idle()
    attempts = [event.action_execution[-2:] for event in await harness.emitted(events.ActionFailed)]
    assert attempts == [".1", ".2"]


async def test_a_failed_deployment_fails_the_execution(harness: Harness, world: World) -> None:
    """The deployment's reason is the execution's; a rollback's end is not taken for it."""
    await world.push(yaml(*BUILD), note="hello\n")
    await harness.until_idle()
    (request,) = await harness.emitted(DeploymentRequested)
    rollback = finished(request, "Succeeded")
    await harness.publish(
        DeploymentFinished(
            **{**_fields(rollback), "creator": f"rollback:{request.deployment_id}", "deployment_id": "r"}
        ),
        finished(request, "Failed", "BeforeInstall failed on i-1"),
    )
    await harness.until_idle()
    (execution,) = await shown(harness.process)
    assert execution.status == "Failed"
    assert execution.reason.endswith("BeforeInstall failed on i-1")


def _fields(event: DeploymentFinished) -> dict[str, str]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


async def test_a_command_that_hangs_is_ended_with_all_that_it_started(harness: Harness, world: World) -> None:
    """The timeout ends the process group, and what left it; the reason says so."""
    await world.push(yaml("setsid sleep 600 & sleep 601 & sleep 602", timeout_s=1))
    await harness.until_idle()
    (failed,) = await harness.emitted(events.ActionFailed)
    assert "the build took more than timeout_s: 1" in failed.reason
    assert commandline.end_marked(failed.action_execution) == 0, "a process was left"


async def test_a_process_left_in_the_background_ends_with_its_command(harness: Harness, world: World) -> None:
    """A daemon that a command starts neither holds the build up nor outlives it."""
    await world.push(yaml("setsid sleep 600 & echo started", *BUILD), note="hello\n")
    await harness.until_idle()
    (done,) = await harness.emitted(events.ActionSucceeded)
    assert commandline.end_marked(done.action_execution) == 0, "a process was left"


async def test_a_broken_pipeline_is_a_failed_execution_with_file_and_line(harness: Harness, world: World) -> None:
    """No worker dies of it; the next push works."""
    await world.push("version: 1\nname: web\nstages: soon\n")
    await harness.until_idle()
    (execution,) = await shown(harness.process)
    assert execution.status == "Failed"
    assert execution.reason.startswith("pipeline.yaml:3: stages: expected a list")
    await world.push(yaml(*BUILD), note="hello\n")
    await harness.until_idle()
    assert len(await harness.emitted(DeploymentRequested)) == 1
    assert await harness.dead_letters(handler.source) == []


async def test_pushes_without_a_pipeline_or_to_other_branches_start_nothing(harness: Harness, world: World) -> None:
    """No pipeline.yaml, another branch, a tag, a deletion: no execution."""
    await world.git("push", "--quiet", "origin", "main", cwd=world.folder)
    await world.push(yaml(*BUILD), branch="dev")
    await world.git("tag", "v1", cwd=world.folder)
    await world.git("push", "--quiet", "origin", "v1", ":dev", cwd=world.folder)
    await world.push(yaml(*BUILD, "true"), branch="other")
    await harness.until_idle()
    assert await shown(harness.process) == []


async def test_secrets_of_the_system_are_not_in_a_builds_environment(
    harness: Harness, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build gets an allow-listed environment, and is told its commit and branch."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-this-process")
    commit = await world.push(yaml("env; exit 1"))
    await harness.until_idle()
    (failed,) = await harness.emitted(events.ActionFailed)
    assert f"SIXFOLD_COMMIT={commit}" in failed.log_tail
    assert "SIXFOLD_BRANCH=main" in failed.log_tail
    assert "secret-of-this-process" not in failed.log_tail
    assert os.environ["AWS_SECRET_ACCESS_KEY"]


async def test_an_action_asked_for_again_answers_from_its_result(harness: Harness, world: World) -> None:
    """A redelivered build does not run again: its commands' effects happen once."""
    mark = harness.data_dir / "ran"
    await world.push(yaml(f"echo x >> {mark}", *BUILD), note="hello\n")
    await harness.until_idle()
    (request,) = await harness.emitted(events.BuildRequested)
    await harness.publish(request)
    await harness.until_idle()
    assert mark.read_text() == "x\n"
    assert len({event.artifact for event in await harness.emitted(events.ActionSucceeded)}) == 1


async def test_a_builder_that_never_ends_fails_the_execution(
    harness: Harness, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the commands there is a time, too: another process that holds the action's lock for ever is no reason to
    wait for ever."""
    monkeypatch.setattr(handler, "AROUND_BUILD_S", 0.5)
    request = events.BuildRequested(
        pipeline="web", execution="web-1", stage="build", action="build", action_execution="web-1.0.0.1",
        repository="web", ref="refs/heads/main", commit="1" * 40, commands=["true"], timeout_s=1, artifact_base="",
        artifact_files=[],
    )  # fmt: skip
    folder = builder.action_folder(harness.data_dir, request.action_execution)
    with _held(folder / "lock"):
        await harness.publish(request)
        await harness.until_idle()
    (failed,) = await harness.emitted(events.ActionFailed)
    assert failed.reason.startswith("the builder failed: it did not end within")
    assert await harness.dead_letters(handler.build) == []


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def test_a_builder_killed_in_the_middle_is_made_good_after_the_restart(tmp_path: Path) -> None:
    """kill -9 of the functions' process during a build: what it left is ended, the build runs again, the rest follows."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    marks, go = data_dir / "marks", data_dir / "go"
    command = f"echo $$ >> {marks}; while [ ! -e {go} ]; do sleep 0.05; done"
    async with opening.open_bus(data_dir=data_dir) as bus:
        await bus.create_topics([worlds.GIT_TOPIC, *TOPICS])
        world = await worlds.world(tmp_path, data_dir, bus)
        process = Process(name="test", data_dir=data_dir, registry=Registry(worlds.EVENTS), bus=bus)
        async with worlds.functions(data_dir) as child:
            await world.push(yaml(command, *BUILD), note="hello\n")
            await eventually(marks.exists, "the build runs")
            child.kill()
            await child.wait()
        orphan = int(marks.read_text())
        assert _runs(orphan), "the test's premise: kill -9 leaves the command behind"
        async with worlds.functions(data_dir):
            await eventually(lambda: len(marks.read_text().split()) == 2, "the build runs again")
            await eventually(lambda: not _runs(orphan), "the orphan is ended")
            go.touch()

            async def ended() -> list[ExecutionView]:
                return [each for each in await shown(process) if each.stages[-1].status == "InProgress"]

            (execution,) = await eventually(ended, "the deployment is asked for")
            assert execution.stages[1].status == "Succeeded"


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_executions_of_a_pipeline_run_one_at_a_time(harness: Harness, world: World) -> None:
    """Pushes during a build wait; the newest of a branch runs next, those between are Superseded."""
    go = harness.data_dir / "go"
    commits = [await world.push(yaml(f"while [ ! -e {go} ]; do sleep 0.05; done", "exit 1"))]
    await eventually(lambda: _started(harness), "the first build runs")
    for number in range(3):
        commits.append(await world.push(yaml(*BUILD), note=f"{number}\n"))
    await eventually(lambda: _queued(harness, 3), "the others wait")
    await asyncio.to_thread(go.touch)
    await harness.until_idle()
    statuses = {each.commit: each.status for each in await shown(harness.process)}
    assert [statuses[commit] for commit in commits] == ["Failed", "Superseded", "Superseded", "InProgress"]
    (request,) = await harness.emitted(DeploymentRequested)
    assert request.revision == commits[-1]


async def _started(harness: Harness) -> bool:
    return bool(await harness.emitted(events.ActionProgressed))


async def _queued(harness: Harness, number: int) -> bool:
    return len(await harness.emitted(events.PipelineQueued)) == number
