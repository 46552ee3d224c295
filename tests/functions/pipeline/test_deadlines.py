"""Every wait of an execution ends: an action whose end never comes fails after its time, and the next push runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.pipeline import world as worlds
from tests.functions.pipeline.world import yaml
from tests.support.waiting import eventually

from sixfold.clock import SystemClock
from sixfold.testing import Harness
from sixfold_events import pipeline as events
from sixfold_events.deploy import DeploymentRequested
from sixfold_functions.pipeline.deadlines import ACTION_S_MAX, Awaited, Deadlines
from sixfold_functions.pipeline.definition import TIMEOUT_S_MAX
from sixfold_functions.pipeline.handler import BUILD_TIMEOUT_S
from sixfold_functions.pipeline.history import History
from sixfold_functions.pipeline.model import Build, Deploy
from sixfold_functions.pipeline.topics import TOPICS


class ShiftedClock(SystemClock):
    """The machine's clock, with hands that a test can move."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


def started(action: str, category: str = "Deploy", at_ms: int = 1000) -> events.ActionStarted:
    return events.ActionStarted(
        pipeline="web",
        execution="web-1",
        stage="s",
        action="a",
        category=category,
        action_execution=action,
        at_ms=at_ms,
    )


def succeeded(action: str) -> events.ActionSucceeded:
    return events.ActionSucceeded(
        pipeline="web", execution="web-1", action_execution=action, artifact="", summary="", at_ms=2000
    )


@pytest.mark.parametrize("category", ["Build", "Deploy"])
def test_an_action_is_overdue_after_its_time_and_not_before(category: str) -> None:
    """It is named with what it is, so that the execution's reason says what was waited for."""
    awaited = Awaited()
    awaited.fold(started("web-1.0.0.1", category))
    ends_ms = 1000 + ACTION_S_MAX[category] * 1000
    assert awaited.overdue(ends_ms - 1) == []
    (failed,) = awaited.overdue(ends_ms)
    assert failed.action_execution == "web-1.0.0.1"
    assert f"a ({category}) did not end within" in failed.reason


def test_an_action_that_ended_is_never_overdue() -> None:
    """Its own end counts, not that of an older attempt."""
    awaited = Awaited()
    awaited.fold(started("web-1.0.0.2"))
    awaited.fold(succeeded("web-1.0.0.1"))
    assert len(awaited.overdue(10**15)) == 1
    awaited.fold(succeeded("web-1.0.0.2"))
    assert awaited.overdue(10**15) == []


def test_every_category_has_a_deadline_beyond_its_own_limits() -> None:
    """The deadline is for what nobody carries out; a build's own limits come first."""
    assert set(ACTION_S_MAX) == {Build.__name__, Deploy.__name__}
    assert ACTION_S_MAX["Build"] > BUILD_TIMEOUT_S > TIMEOUT_S_MAX


async def test_a_deployment_that_nobody_carries_out_ends_its_execution_and_the_next_push_runs(tmp_path: Path) -> None:
    """Five days without an answer: Failed with the reason; what waited begins."""
    data_dir, clock = tmp_path / "data", ShiftedClock()
    async with Harness(
        *worlds.FUNCTIONS, data_dir=data_dir, clock=clock, events=worlds.EVENTS, topics=[*TOPICS, worlds.GIT_TOPIC]
    ) as harness:
        world = await worlds.world(tmp_path, data_dir, harness.bus)
        deadlines = Deadlines(harness.process)
        await deadlines.start()
        try:
            build = ("mkdir dist", "cp note dist/")
            await world.push(yaml(*build), note="1\n")
            await harness.until_idle()
            await world.push(yaml(*build), note="2\n")
            await harness.until_idle()
            assert len(await harness.emitted(DeploymentRequested)) == 1
            clock.ahead_s = ACTION_S_MAX["Deploy"]

            async def failed() -> list[events.PipelineFailed]:
                return await harness.emitted(events.PipelineFailed)

            (found,) = await eventually(failed, "the deadline ends the execution")
            assert "deploy (Deploy) did not end within 5 days" in found.reason
            await harness.until_idle()
            assert len(await harness.emitted(DeploymentRequested)) == 2
        finally:
            await deadlines.stop()
        async with History(harness.process) as history:
            assert [each.status for each in history.view.executions.values()] == ["Failed", "InProgress"]
