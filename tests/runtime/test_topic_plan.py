"""The topic plan: what is missing is made, what differs is changed, what cannot be is said, the rest is left alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support import naming, waiting

from sixfold import topic_plan
from sixfold.bus import port

HOUR_MS = 3_600_000


def spec(name: str = "t", **settings: Any) -> port.TopicSpec:
    return port.TopicSpec(name=name, **settings)


@pytest.mark.parametrize(
    ("declared", "there", "allowed", "expected"),
    [
        (spec(), None, False, [("create", {})]),
        (spec(), spec(), False, []),
        (spec(), spec(replication=3), False, []),
        (spec(replication=3), spec(), False, []),
        (spec(retention_ms=HOUR_MS), spec(), False, [("change", {"retention_ms": (604_800_000, HOUR_MS)})]),
        (
            spec(cleanup=port.Cleanup.COMPACT, retention_ms=None, retention_bytes=5, record_bytes_max=7),
            spec(),
            False,
            [
                (
                    "change",
                    {
                        "cleanup": ("delete", "compact"),
                        "retention_ms": (604_800_000, None),
                        "retention_bytes": (None, 5),
                        "record_bytes_max": (1_000_000, 7),
                    },
                )
            ],
        ),
        (spec(partitions=12), spec(), False, [("conflict", {"partitions": (6, 12)})]),
        (spec(partitions=12), spec(), True, [("grow", {"partitions": (6, 12)})]),
        (spec(partitions=3), spec(), True, [("conflict", {"partitions": (6, 3)})]),
        (spec(replication=3), spec(replication=1), True, [("conflict", {"replication": (1, 3)})]),
        (
            spec(partitions=12, retention_ms=None),
            spec(),
            False,
            [("change", {"retention_ms": (604_800_000, None)}), ("conflict", {"partitions": (6, 12)})],
        ),
    ],
)
def test_a_topic_gets_the_steps_that_it_needs(
    declared: port.TopicSpec, there: port.TopicSpec | None, allowed: bool, expected: list[Any]
) -> None:
    """Partitions only where they are allowed, and never fewer; what the back end alone knows is no difference."""
    plan = topic_plan.plan([declared], {"t": there} if there else {}, allow_partitions=allowed)
    assert [(step.action, step.changes) for step in plan.steps] == expected
    assert plan.unchanged == (not expected)
    assert all(step.why for step in plan.conflicts)
    for step in plan.todo:
        if step.action == "change" and there is not None:
            assert step.spec.partitions == there.partitions, "a change of settings moves no keys"


def test_a_plan_creates_first_and_leaves_unknown_topics_alone() -> None:
    """By action, then by name; topics that nobody declares are named."""
    declared = [spec("b", retention_ms=None), spec("z"), spec("a"), spec("c", partitions=9)]
    there = {name: spec(name) for name in ("b", "c", "mine", "yours")}
    plan = topic_plan.plan(declared, there, allow_partitions=True)
    assert [(step.action, step.topic) for step in plan.steps] == [
        ("create", "a"),
        ("create", "z"),
        ("change", "b"),
        ("grow", "c"),
    ]
    assert plan.unknown == ("mine", "yours")


async def test_an_applied_plan_leaves_nothing_to_do(bus: port.Bus, names: naming.Names) -> None:
    """On both buses: topics are made, changed and grown, and the next plan is empty; others are not touched."""
    old = [spec(names("a"), partitions=2), spec(names("b"), partitions=1, retention_ms=HOUR_MS), spec(names("x"))]
    await bus.create_topics(old)
    declared = [
        spec(names("a"), partitions=3),
        spec(names("b"), partitions=1, cleanup=port.Cleanup.COMPACT, retention_ms=None),
        spec(names("c"), partitions=1),
    ]

    async def planned() -> topic_plan.Plan:
        mine = {name: found for name, found in (await bus.topics()).items() if name in set(map(names, "abcx"))}
        return topic_plan.plan(declared, mine, allow_partitions=True)

    plan = await planned()
    assert [step.action for step in plan.steps] == ["create", "change", "grow"]
    await topic_plan.apply(bus, plan.steps)

    async def nothing_left() -> bool:
        return not (await planned()).steps

    await waiting.eventually(nothing_left, "the bus is as declared")
    await topic_plan.apply(bus, plan.steps)
    assert not (await planned()).steps
    untouched = (await bus.topics())[names("x")]
    assert msgspec.structs.replace(untouched, replication=None) == old[2]
