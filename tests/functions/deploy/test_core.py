"""The rollout's decisions: order, failure, rollback, waiting and time, without any I/O."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.deploy.driving import LIMITS, Driver

from sixfold_events import deploy as events
from sixfold_functions.deploy import core, state


def test_instances_are_deployed_to_one_after_another() -> None:
    """The next instance gets its command only when the one before has ended well."""
    driver = Driver("i-1", "i-2", "i-3")
    driver.request("d1")
    assert driver.commanded() == [("d1", "i-1")]
    driver.succeed("d1", "i-1")
    assert driver.commanded() == [("d1", "i-1"), ("d1", "i-2")]
    driver.succeed("d1", "i-2", "i-3")
    assert driver.endings() == {"d1": ("Succeeded", "")}
    assert driver.targets("d1") == {"i-1": "Succeeded", "i-2": "Succeeded", "i-3": "Succeeded"}
    assert driver.group.last_good["web"].revision == "revision-d1"


def test_the_first_failure_ever_stops_the_rollout_and_says_that_nothing_can_be_rolled_back_to() -> None:
    """Without a good revision there is no rollback; the instances after the failed one are skipped."""
    driver = Driver("i-1", "i-2", "i-3")
    driver.request("d1")
    driver.succeed("d1", "i-1")
    driver.report("d1", "i-2", "ApplicationStart", "Failed", "script start.sh failed with exit code 1")
    status, reason = driver.endings()["d1"]
    assert status == "Failed"
    assert "i-2: ApplicationStart failed: script start.sh failed with exit code 1" in reason
    assert "Nothing to roll back to" in reason
    assert driver.targets("d1") == {"i-1": "Succeeded", "i-2": "Failed", "i-3": "Skipped"}
    assert driver.group.current is None


def test_a_failure_rolls_the_touched_instances_back_to_the_last_good_revision() -> None:
    """The rollback is a new deployment of the last good revision, to those that got the bad one, before all others."""
    driver = Driver("i-1", "i-2", "i-3")
    driver.request("d1")
    driver.succeed("d1", "i-1", "i-2", "i-3")
    driver.request("d2")
    driver.request("d3")
    driver.succeed("d2", "i-1")
    driver.report("d2", "i-2", "ValidateService", "Failed", "no answer")
    status, reason = driver.endings()["d2"]
    assert status == "Failed"
    assert "Rolling back to revision-d1 by deployment d2-rollback" in reason
    rollback = driver.group.current
    assert rollback is not None
    assert (rollback.creator, rollback.goal.revision) == ("rollback:d2", "revision-d1")
    driver.succeed("d2-rollback", "i-1", "i-2")
    assert driver.endings()["d2-rollback"] == ("Succeeded", "")
    assert driver.targets("d2-rollback") == {"i-1": "Succeeded", "i-2": "Succeeded"}
    assert driver.commanded()[-1] == ("d3", "i-1"), "what waited goes on after the rollback"


def test_a_rollback_goes_on_where_an_instance_fails_and_is_not_rolled_back_itself() -> None:
    """An instance left on the bad revision is worse than one more failure; and rollbacks do not chase each other."""
    driver = Driver("i-1", "i-2")
    driver.request("d1")
    driver.succeed("d1", "i-1", "i-2")
    driver.request("d2")
    driver.succeed("d2", "i-1")
    driver.report("d2", "i-2", "ValidateService", "Failed")
    driver.report("d2-rollback", "i-1", "Install", "Failed", "disk full")
    driver.succeed("d2-rollback", "i-2")
    assert driver.endings()["d2-rollback"] == ("Failed", "i-1: Install failed: disk full")
    assert driver.group.current is None
    assert driver.group.queue == ()


def test_a_request_whose_appspec_is_broken_fails_at_once_and_touches_nothing() -> None:
    """Even while another deployment runs; the running one goes on."""
    driver = Driver("i-1")
    driver.request("d1")
    driver.request("bad", problem="appspec.yml:3: unknown key 'fils'")
    assert driver.endings() == {"bad": ("Failed", "appspec.yml:3: unknown key 'fils'")}
    driver.succeed("d1", "i-1")
    assert driver.endings()["d1"] == ("Succeeded", "")
    assert driver.commanded() == [("d1", "i-1")]


def test_a_group_without_instances_is_a_clear_failure() -> None:
    """NO_INSTANCES names the groups that have some."""
    driver = Driver()
    driver.request("d1")
    status, reason = driver.endings()["d1"]
    assert status == "Failed"
    assert reason.startswith("NO_INSTANCES: group 'production' has no instance; groups with instances: staging.")


def test_an_instance_that_says_nothing_fails_its_deployment_in_time() -> None:
    """The timer is set with the command; when it fires after a silence, the instance has failed."""
    driver = Driver("i-1")
    effects = driver.request("d1")
    due_ms = next(each.due_ms for each in effects if isinstance(each, state.Timer))
    assert due_ms == driver.now_ms + LIMITS.silence_ms
    driver.now_ms = due_ms - 1
    driver.due("d1")
    assert driver.endings() == {}, "fired early"
    driver.now_ms = due_ms
    driver.due("d1")
    assert "i-1: no answer in time after the command" in driver.endings()["d1"][1]


def test_an_agent_at_work_that_keeps_asking_for_commands_is_given_the_time_that_it_claimed() -> None:
    """Heartbeats keep the instance alive up to the claimed budget and the grace, no longer."""
    driver = Driver("i-1")
    driver.request("d1")
    begun_ms = driver.now_ms
    driver.report("d1", "i-1", "ApplicationStart", "InProgress", budget_ms=120_000)
    while driver.now_ms < begun_ms + 120_000:
        driver.now_ms += 25_000
        driver.seen("i-1")
        driver.due("d1")
        if driver.now_ms < begun_ms + 120_000 + LIMITS.grace_ms:
            assert driver.endings() == {}
    driver.now_ms = begun_ms + 120_000 + LIMITS.grace_ms
    driver.due("d1")
    assert "no answer in time after ApplicationStart" in driver.endings()["d1"][1]


def test_a_report_that_comes_again_gives_no_more_time() -> None:
    """An agent that says the same for ever holds its group for no longer than it claimed: every wait ends."""
    driver = Driver("i-1")
    driver.request("d1")
    driver.report("d1", "i-1", "ApplicationStart", "InProgress", budget_ms=120_000)
    ends_ms = driver.now_ms + 120_000 + LIMITS.grace_ms
    while driver.now_ms < ends_ms:
        assert driver.endings() == {}
        driver.now_ms = min(driver.now_ms + 25_000, ends_ms)
        driver.seen("i-1")
        driver.report("d1", "i-1", "ApplicationStart", "InProgress", budget_ms=120_000)
        driver.due("d1")
    assert "no answer in time after ApplicationStart" in driver.endings()["d1"][1]


def test_an_event_that_ended_is_not_in_progress_again() -> None:
    """A late copy of the event's beginning gives no more time; its failure, as after an agent's restart, still counts."""
    driver = Driver("i-1")
    driver.request("d1")
    driver.report("d1", "i-1", "Install", "Succeeded")
    before = driver.group
    assert driver.report("d1", "i-1", "Install", "InProgress", budget_ms=3_000_000) == []
    assert driver.group == before
    driver.report("d1", "i-1", "Install", "Failed", "agent restart")
    assert "Install failed: agent restart" in driver.endings()["d1"][1]


def test_what_cannot_be_commanded_fails_with_all_that_waits() -> None:
    """Nobody waits for a command that cannot be signed: the running deployment, its instances and the queue end."""
    driver = Driver("i-1", "i-2", "i-3")
    driver.request("d1")
    driver.request("d2")
    reported = events.DeploymentStepReported(
        report_id="r", group="production", instance="i-1", deployment_id="d1", lifecycle_event="ValidateService",
        status="Succeeded",
    )  # fmt: skip
    driver.group, effects = core.give_up(driver.group, reported, driver.now_ms, LIMITS, "no key")
    driver.effects += effects
    assert driver.endings() == {"d1": ("Failed", "no key"), "d2": ("Failed", "no key")}
    assert driver.targets("d1") == {"i-1": "Succeeded", "i-2": "Skipped", "i-3": "Skipped"}
    assert (driver.group.current, driver.group.queue, driver.group.armed_ms) == (None, (), 0)
    assert driver.commanded() == [("d1", "i-1")]


def test_a_timer_that_fires_early_is_set_again() -> None:
    """While an instance is being waited for there is always a timer that will fire."""
    driver = Driver("i-1")
    driver.request("d1")
    driver.now_ms += 30_000
    driver.seen("i-1")
    driver.now_ms += 20_000
    (timer,) = driver.due("d1")
    assert timer == state.Timer("d1", driver.now_ms + 10_000), "the answer to the command is due then"


@pytest.mark.parametrize("status", ["Succeeded", "Failed", "InProgress", "Skipped"])
def test_reports_of_others_than_the_commanded_instance_change_nothing(status: str) -> None:
    """An instance whose turn it is not, a deployment that is over, an unknown event: no effect."""
    driver = Driver("i-1", "i-2")
    driver.request("d1")
    before = driver.group
    assert driver.report("d1", "i-2", "ValidateService", status) == []
    assert driver.report("d0", "i-1", "ValidateService", status) == []
    assert driver.report("d1", "i-1", "Explode", status) == []
    assert driver.group == before


def test_a_forgotten_instance_is_left_out() -> None:
    """Of the group at once; of a running deployment as skipped, or failed where its turn had come."""
    driver = Driver("i-1", "i-2", "i-3")
    driver.request("d1")
    driver.forget("i-3")
    assert driver.targets("d1")["i-3"] == "Skipped"
    driver.forget("i-1")
    assert driver.targets("d1") == {"i-1": "Failed", "i-2": "Skipped", "i-3": "Skipped"}
    assert driver.group.instances == ("i-2",)


def test_applications_of_one_group_take_turns_and_keep_their_own_last_good_revision() -> None:
    """One deployment at a time on a group, whatever the application; a rollback is to the same application's."""
    driver = Driver("i-1")
    driver.request("d1", application="web")
    driver.request("d2", application="api")
    assert driver.commanded() == [("d1", "i-1")]
    driver.succeed("d1", "i-1")
    driver.report("d2", "i-1", "Install", "Failed")
    assert "no revision of api has succeeded" in driver.endings()["d2"][1]


@pytest.mark.parametrize(("title", "table"), [("deployment", state.DEPLOYMENT), ("instance in it", state.TARGET)])
def test_the_design_page_draws_the_transition_tables_as_they_are(title: str, table: state.Transitions) -> None:
    """Every cell of DESIGN.md's tables is a transition, and every transition is a cell."""
    page = (Path(state.__file__).parent / "DESIGN.md").read_text()
    head, _, *rows = page[page.index(f"| {title} |") :].split("\n\n")[0].splitlines()
    inputs = [cell.strip() for cell in head.strip("|").split("|")[1:]]
    drawn = {}
    for row in rows:
        name, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        drawn.update({(name, by): to for by, to in zip(inputs, cells, strict=True) if to})
    assert drawn == table
