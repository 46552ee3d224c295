"""From `git push` to three instances: the whole system as `sixfold up` starts it, real git, real agents, real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import missing
from tests.support import brokers, leftovers
from tests.support.checkout import Checkout
from tests.support.tree import Tree
from tests.support.waiting import eventually

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.bus import open_bus
from sixfold.demo import processes
from sixfold.process import Process
from sixfold_events import deploy as events
from sixfold_functions.deploy import client, lifecycle

INSTANCES = ("i-1", "i-2", "i-3")


@pytest.fixture
def own_kafka() -> Iterator[str]:
    """A broker whose topics nobody else uses: a system has them all under its own names."""
    try:
        if shutil.which("java") and shutil.which("mvn"):
            with brokers.local() as bootstrap:
                yield bootstrap
        else:
            brokers.engine()
            with brokers.contained() as bootstrap:
                yield bootstrap
    except (brokers.NoBrokerError, brokers.NoEngineError) as error:
        missing(f"no Kafka of its own: {error}")


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def tree(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tree]:
    """`sixfold up` on each bus in turn; when the test is over nothing of it runs any more."""
    url = f"kafka://{request.getfixturevalue('own_kafka')}" if request.param == "kafka" else "embedded:"
    tree = Tree(tmp_path / "data", bus_url=url)
    await tree.start()
    try:
        yield tree
    finally:
        code = await tree.stop()
        await processes.end(lambda: processes.deployed_under(tree.data_dir), clocks.SystemClock())
    assert code == 0, tree.log[-2000:]
    await leftovers.none_left(tree.data_dir)


async def sixfold(tree: Tree, *words: str, code: int = 0) -> Any:
    """The JSON that a command prints; it must end with `code`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sixfold", "--data-dir", str(tree.data_dir), *words, "--json"),
        env={name: value for name, value in os.environ.items() if not name.startswith("SIXFOLD_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, problems = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == code, f"{words}: {process.returncode}\n{out.decode()}\n{problems.decode()}"
    return json.loads(out)


def answers(tree: Tree) -> dict[str, str]:
    """Which revision the web service on each instance says over HTTP that it is."""
    found = {}
    for instance in INSTANCES:
        state = tree.data_dir / "deploy" / "instances" / instance / "root" / "run" / "web.json"
        url = f"http://127.0.0.1:{json.loads(state.read_text())['port']}/version"
        found[instance] = httpx.get(url, trust_env=False, timeout=10).json()["revision"]
    return found


def touched(steps: Iterable[events.DeploymentStepReported], deployment_id: str) -> list[str]:
    """The instances that reported a step of a deployment, in the order of their first."""
    return list(dict.fromkeys(each.instance for each in steps if each.deployment_id == deployment_id))


def check_one_at_a_time(steps: Iterable[events.DeploymentStepReported]) -> None:
    """Nobody begins before the one before has ended, by success or by failure."""
    busy: tuple[str, str] | None = None
    for each in steps:
        mine = (each.deployment_id, each.instance)
        assert busy in (None, mine), f"{mine} begins {each.lifecycle_event} while {busy} is under way"
        last = each.lifecycle_event == lifecycle.IN_PLACE_NAMES[-1] and each.status != "InProgress"
        busy = None if last or each.status == "Failed" else mine


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_push_is_built_and_deployed_and_a_bad_one_is_taken_back(tree: Tree, tmp_path: Path) -> None:
    """A push reaches three instances one at a time; one whose hook fails stops there, and the good version comes back."""
    checkout = await Checkout(tmp_path / "checkout").make()
    url = (await sixfold(tree, "git", "create", "web"))["clone_url"]
    good = await checkout.git("rev-parse", "HEAD")
    await checkout.push(tree.data_dir, url)
    execution = await sixfold(tree, "pipeline", "show", "web", "--commit", good, "--follow")
    assert (execution["status"], execution["commit"]) == ("Succeeded", good)
    assert answers(tree) == dict.fromkeys(INSTANCES, good)

    checkout.break_script("validate.sh", "i-2", 7)
    bad = await checkout.commit("No good on the second instance")
    await checkout.push(tree.data_dir, url)
    execution = await sixfold(tree, "pipeline", "show", "web", "--commit", bad, "--follow", code=1)
    assert execution["status"] == "Failed"
    assert "i-2: ValidateService failed: script scripts/validate.sh failed with exit code 7" in execution["reason"]

    async with open_bus(tree.bus_url, data_dir=tree.data_dir) as bus:
        process = Process(name="test", data_dir=tree.data_dir, registry=catalogue.installed().registry, bus=bus)

        async def ended() -> list[events.DeploymentFinished]:
            found = [each async for each in client.read(process, events.DeploymentFinished)]
            return found if len(found) == 3 else []

        first, failed, rollback = await eventually(ended, "the rollback has ended", 60)
        steps = [each async for each in client.read(process, events.DeploymentStepReported)]
        targets = {each.instance: each.status for each in await client.targets(process, failed.deployment_id)}
    assert [(each.status, each.revision) for each in (first, failed, rollback)] == [
        ("Succeeded", good),
        ("Failed", bad),
        ("Succeeded", good),
    ]
    assert rollback.creator == f"rollback:{failed.deployment_id}"
    assert targets == {"i-1": "Succeeded", "i-2": "Failed", "i-3": "Skipped"}
    assert touched(steps, first.deployment_id) == list(INSTANCES)
    assert touched(steps, failed.deployment_id) == ["i-1", "i-2"], "the third never saw the bad one"
    assert sorted(touched(steps, rollback.deployment_id)) == ["i-1", "i-2"], "those that had the bad one, nobody else"
    check_one_at_a_time(steps)
    assert answers(tree) == dict.fromkeys(INSTANCES, good)
