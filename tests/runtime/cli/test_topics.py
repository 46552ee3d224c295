"""`sixfold topics`: listed, planned, applied; the plan is what is done."""

from __future__ import annotations

import asyncio
import json

from tests.runtime.cli.commands import Sixfold

from sixfold import bus


async def make(sixfold: Sixfold, *specs: bus.TopicSpec) -> None:
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        await opened.create_topics(specs)


async def test_the_plan_is_what_apply_does(sixfold: Sixfold) -> None:
    """Missing topics are made, settings changed, unknown ones named and left; applying again does nothing."""
    await make(sixfold, bus.TopicSpec(name="order.placed", retention_ms=None), bus.TopicSpec(name="mine"))
    app = ("--app", str(sixfold.app))

    def check() -> None:
        plan = sixfold.json(*app, "topics", "plan")
        actions = {step["topic"]: step["action"] for step in plan["steps"]}
        assert actions["order.placed"] == "change"
        assert actions["order.accepted"] == actions["accept.dlq"] == actions["git.pushed"] == "create"
        [change] = [step for step in plan["steps"] if step["action"] == "change"]
        assert change["changes"] == {"retention_ms": {"before": None, "after": 604_800_000}}
        assert plan["unknown"] == ["mine"]
        shown = sixfold.good(*app, "topics", "plan")
        assert "retention_ms none → 604800000" in shown
        assert "`sixfold topics apply` does it" in shown
        assert [row["name"] for row in sixfold.json("topics")] == ["mine", "order.placed"]
        assert sixfold.json(*app, "topics", "apply") == plan
        after = sixfold.json(*app, "topics", "plan")
        assert (after["steps"], after["unknown"]) == ([], ["mine"])
        assert after["unchanged"] == len(plan["steps"])
        assert sixfold.json("topics", "ls") == sixfold.json("topics")
        assert {row["name"] for row in sixfold.json("topics")} >= {"order.accepted", "accept.dlq", "mine"}

    await asyncio.to_thread(check)


async def test_more_partitions_must_be_asked_for(sixfold: Sixfold) -> None:
    """Exit code 1 and why, until --allow-partitions; the rest of the plan is done all the same."""
    await make(sixfold, bus.TopicSpec(name="order.placed", partitions=2, retention_ms=5))
    app = ("--app", str(sixfold.app))

    def check() -> None:
        done = sixfold.run(*app, "topics", "apply", "--json")
        assert done.returncode == 1
        [conflict] = [step for step in json.loads(done.stdout)["steps"] if step["action"] == "conflict"]
        assert (conflict["topic"], conflict["changes"]) == ("order.placed", {"partitions": {"before": 2, "after": 6}})
        assert "--allow-partitions" in conflict["why"]
        rows = {row["name"]: row for row in sixfold.json("topics")}
        assert (rows["order.placed"]["partitions"], rows["order.placed"]["retention_ms"]) == (2, 604_800_000)
        shown = sixfold.good(*app, "topics", "apply", "--allow-partitions")
        assert "restart what publishes to order.placed" in " ".join(shown.split())
        assert {row["name"]: row for row in sixfold.json("topics")}["order.placed"]["partitions"] == 6

    await asyncio.to_thread(check)
