"""Deployments through the whole path: requests on the bus, functions, gateway, three agents as processes, HTTP."""

from __future__ import annotations

import pytest
from tests.functions.deploy.system import System, web_service

from sixfold_events import deploy as events
from sixfold_functions.deploy import client, lifecycle

INSTANCES = ("i-1", "i-2", "i-3")


@pytest.fixture
async def three(system: System) -> System:
    """A system with three instances in the group `production`."""
    for instance in INSTANCES:
        await system.start_agent(instance)
    return system


async def at_once(system: System) -> int:
    """The most instances that were being deployed to at one moment, from the events of the log."""
    busy: set[str] = set()
    most = 0
    for each in await system.events(events.DeploymentStepReported):
        key = f"{each.deployment_id}/{each.instance}"
        if each.status == "Failed" or (each.lifecycle_event == "ValidateService" and each.status != "InProgress"):
            busy.discard(key)
        else:
            busy.add(key)
        most = max(most, len(busy))
    return most


async def test_a_good_revision_reaches_every_instance_one_at_a_time_and_answers_over_http(three: System) -> None:
    """Every lifecycle event is reported in order, never two instances at once, and the new version answers."""
    finished = await three.deploy("d1", web_service("1" * 40), revision="1" * 40)
    assert (finished.status, finished.reason) == ("Succeeded", "")
    for instance in INSTANCES:
        answer = three.answers(instance)
        assert (answer["revision"], answer["instance"]) == ("1" * 40, instance)
        ended = [(event, status) for event, status in await three.steps("d1", instance) if status != "InProgress"]
        assert [event for event, _ in ended] == list(lifecycle.IN_PLACE_NAMES)
        assert dict(ended)["ApplicationStop"] == "Skipped", "there is no last revision yet"
    assert await at_once(three) == 1
    (deployment,) = await client.deployments(three.process)
    assert deployment.status == "Succeeded"
    assert {each.status for each in await client.targets(three.process, "d1")} == {"Succeeded"}


async def test_a_failing_hook_stops_the_rollout_and_the_old_version_answers_everywhere_again(three: System) -> None:
    """Version 2 fails its validation on the second instance: the third never sees it, the first gets version 1 back."""

    def fails_on_the_second(files: dict[str, str]) -> None:
        files["scripts/validate.sh"] = files["scripts/validate.sh"].replace(
            "set -eu\n", 'set -eu\nif [ "$INSTANCE_ID" = i-2 ]; then echo "no good here" >&2; exit 7; fi\n'
        )

    assert (await three.deploy("d1", web_service("1" * 40), revision="1" * 40)).status == "Succeeded"
    failed = await three.deploy("d2", web_service("2" * 40, fails_on_the_second), revision="2" * 40)
    assert failed.status == "Failed"
    assert "i-2: ValidateService failed: script scripts/validate.sh failed with exit code 7" in failed.reason
    assert f"Rolling back to {'1' * 40} by deployment d2-rollback" in failed.reason
    rollback = await three.finished("d2-rollback")
    assert (rollback.status, rollback.creator, rollback.revision) == ("Succeeded", "rollback:d2", "1" * 40)
    assert {three.answers(instance)["revision"] for instance in INSTANCES} == {"1" * 40}
    assert await three.steps("d2", "i-3") == [], "the rollout never reached the third"
    assert await at_once(three) == 1
    tails = [each.log_tail for each in await three.events(events.DeploymentStepReported) if each.status == "Failed"]
    assert any("no good here" in tail for tail in tails), "the report carries the end of the script's output"
    targets = {each.instance: each.status for each in await client.targets(three.process, "d2")}
    assert targets == {"i-1": "Succeeded", "i-2": "Failed", "i-3": "Skipped"}


async def test_a_broken_appspec_fails_with_file_and_line_before_any_instance_is_touched(three: System) -> None:
    """The reason says what to mend and where; no agent gets a command."""

    def broken(files: dict[str, str]) -> None:
        files["appspec.yml"] = "version: 0.0\nos: linux\nhooks:\n  BeforeInstal:\n    - location: a.sh\n"

    finished = await three.deploy("d1", web_service("1" * 40, broken))
    assert finished.status == "Failed"
    assert finished.reason.startswith("appspec.yml:4: hooks.BeforeInstal: unknown lifecycle event; expected ")
    assert await three.events(events.DeploymentCommanded) == []


async def test_what_cannot_be_deployed_fails_clearly(system: System) -> None:
    """An unknown artifact, an artifact that is none, a group without instances: each with its reason."""
    await system.start_agent("i-1", group="staging")
    await system.request("gone", "0" * 64)
    assert "no object 000" in (await system.finished("gone")).reason
    assert (
        "appspec.yml is not in the artifact, which holds a.txt" in (await system.deploy("bare", {"a.txt": "a"})).reason
    )
    empty = await system.deploy("empty", web_service("1" * 40))
    assert "NO_INSTANCES: group 'production' has no instance; groups with instances: staging" in empty.reason
