"""Hooks on a real instance: exact environment, timeouts, output, and an agent killed in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.functions.deploy.system import System, hooks
from tests.support.waiting import eventually

from sixfold_events import deploy as events
from sixfold_functions.deploy import lifecycle
from sixfold_functions.deploy.agent.folder import REVISIONS_MAX, group_id_of
from sixfold_functions.deploy.agent.journal import started_at


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def pid_in(path: Path) -> int:
    return int(await eventually(lambda: path.exists() and path.read_text().strip(), f"{path} has a process id"))


async def test_a_hook_gets_exactly_the_environment_that_codedeploy_gives_and_the_instance(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the agent's own environment reaches a script but PATH; every variable has its value."""
    monkeypatch.setenv("AGENT_SECRET", "hidden")
    await system.start_agent("i-1")
    await system.deploy("d1", hooks(AfterInstall='env > "$INSTANCE_ROOT/environment"'), revision="abc")
    lines = (system.folder("i-1") / "root" / "environment").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name: value for name, value in found.items() if name not in shell | {"PATH", "LANG"}} == {
        "LIFECYCLE_EVENT": "AfterInstall",
        "DEPLOYMENT_ID": "d1",
        "APPLICATION_NAME": "web",
        "DEPLOYMENT_GROUP_NAME": "production",
        "DEPLOYMENT_GROUP_ID": group_id_of("web", "production"),
        "BUNDLE_COMMIT": "abc",
        "INSTANCE_ID": "i-1",
        "INSTANCE_ROOT": str(system.folder("i-1") / "root"),
    }


async def test_a_hook_that_runs_too_long_is_stopped_with_all_that_it_started(system: System) -> None:
    """TERM and then KILL go to the whole process group; the deployment fails and says which script took too long."""
    await system.start_agent("i-1")
    script = 'trap "" TERM; sleep 300 & echo $! > "$INSTANCE_ROOT/child"; wait; sleep 300'
    files = hooks(BeforeInstall=script)
    files["appspec.yml"] = files["appspec.yml"].replace("timeout: 10", "timeout: 1")
    finished = await system.deploy("d1", files)
    assert finished.status == "Failed"
    assert "BeforeInstall failed: script BeforeInstall.sh ran longer than 1 s and was stopped" in finished.reason
    child = await pid_in(system.folder("i-1") / "root" / "child")
    await eventually(lambda: not alive(child), "the script's child is gone")


async def test_a_hook_that_leaves_its_output_open_fails(system: System) -> None:
    """A background process that keeps the script's output is an error that says how to start one properly."""
    await system.start_agent("i-1")
    files = hooks(ApplicationStart='sleep 300 & echo $! > "$INSTANCE_ROOT/child"')
    files["appspec.yml"] = files["appspec.yml"].replace("timeout: 10", "timeout: 1")
    finished = await system.deploy("d1", files)
    assert "holds its output open after 1 s; redirect the output of background processes" in finished.reason
    child = await pid_in(system.folder("i-1") / "root" / "child")
    await eventually(lambda: not alive(child), "what it started is gone")


async def test_application_stop_runs_the_scripts_of_the_last_installed_revision(system: System) -> None:
    """The new revision's own stop script does not run before it is there; the last one's does."""
    await system.start_agent("i-1")
    log = '"$INSTANCE_ROOT/log"'
    await system.deploy("d1", hooks(ApplicationStop=f"echo stop one >> {log}", AfterInstall=f"echo one >> {log}"))
    await system.deploy("d2", hooks(ApplicationStop=f"echo stop two >> {log}", AfterInstall=f"echo two >> {log}"))
    assert (system.folder("i-1") / "root" / "log").read_text() == "one\nstop one\ntwo\n"


async def test_an_agent_killed_in_the_middle_reports_the_deployment_as_failed_when_it_is_back(system: System) -> None:
    """`kill -9` during a hook: the restarted agent ends what the hook left, reports, and takes the next deployment."""
    await system.start_agent("i-1")
    files = hooks(ApplicationStart='echo $$ > "$INSTANCE_ROOT/pid"; sleep 300')
    await system.request("d1", await system.store(files))
    script = await pid_in(system.folder("i-1") / "root" / "pid")
    await eventually(lambda: started_at(script), "the script runs")
    await system.kill_agent("i-1", signal.SIGKILL)
    assert alive(script), "nobody told the script"
    await system.start_agent("i-1")
    finished = await system.finished("d1")
    assert "i-1: ApplicationStart failed: agent restart" in finished.reason
    await eventually(lambda: not alive(script), "the restarted agent has ended the script")
    assert (await system.deploy("d2", hooks(AfterInstall="true"))).status == "Succeeded"


@pytest.mark.parametrize("silence_s", ["4"])
async def test_an_agent_that_does_not_come_back_fails_the_deployment_in_time(
    system: System,
) -> None:
    """A dead agent does not hold the rollout for ever: the timer in the log fires."""
    await system.start_agent("i-1")
    files = hooks(ApplicationStart='echo $$ > "$INSTANCE_ROOT/pid"; exec sleep 300')
    await system.request("d1", await system.store(files))
    script = await pid_in(system.folder("i-1") / "root" / "pid")
    await system.eventually(
        events.DeploymentStepReported,
        lambda each: (each.lifecycle_event, each.status) == ("ApplicationStart", "InProgress"),
    )
    await system.kill_agent("i-1", signal.SIGKILL)
    finished = await system.finished("d1", 30)
    os.kill(script, signal.SIGKILL)
    assert "i-1: no answer in time after ApplicationStart" in finished.reason
    assert "sixfold deploy forget i-1" in finished.reason


async def test_five_revisions_are_kept(system: System) -> None:
    """The oldest go; the last one that was installed stays."""
    await system.start_agent("i-1")
    for number in range(REVISIONS_MAX + 2):
        await system.deploy(f"d{number}", hooks(AfterInstall=f"echo {number}"))
    kept = system.folder("i-1") / "revisions" / group_id_of("web", "production")
    assert sorted(each.name for each in kept.iterdir()) == [f"d{number}" for number in range(2, REVISIONS_MAX + 2)]


async def test_a_gateway_that_is_away_for_a_while_loses_no_report(system: System) -> None:
    """What the agent has to say meanwhile waits in its outbox; every step is in the log once, in its order."""
    await system.start_agent("i-1")
    root = system.folder("i-1") / "root"
    files = hooks(AfterInstall='touch "$INSTANCE_ROOT/here"; until [ -f "$INSTANCE_ROOT/go" ]; do sleep 0.05; done')
    await system.request("d1", await system.store(files))
    await eventually((root / "here").exists, "the script runs")
    await system.gateway.close()
    (root / "go").touch()
    outbox = system.folder("i-1") / "outbox"
    await eventually(lambda: len(list(outbox.glob("[0-9]*.json"))) >= 3, "the rest of the reports wait")
    await system.gateway.open()
    assert (await system.finished("d1")).status == "Succeeded"
    await eventually(lambda: not list(outbox.iterdir()), "all is delivered")
    ended = [event for event, status in await system.steps("d1", "i-1") if status != "InProgress"]
    assert ended == list(lifecycle.IN_PLACE_NAMES)
