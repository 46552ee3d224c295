"""Whatever happens in whatever order, repeated or late: what a rollout promises holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.deploy.driving import Driver

from sixfold_functions.deploy import lifecycle, state

INSTANCES = ("i-1", "i-2", "i-3")
NAMES = ("d1", "d2", "d3", "d1-rollback", "d2-rollback", "d3-rollback")

happenings = st.lists(
    st.one_of(
        st.tuples(st.just("request"), st.sampled_from(NAMES[:3]), st.sampled_from(["", "", "", "broken"])),
        st.tuples(st.just("ends"), st.booleans()),
        st.tuples(st.just("ends"), st.booleans()),
        st.tuples(
            st.just("report"),
            st.sampled_from(NAMES),
            st.sampled_from(INSTANCES),
            st.sampled_from(lifecycle.IN_PLACE_NAMES),
            st.sampled_from(["InProgress", "Succeeded", "Failed", "Skipped"]),
        ),
        st.tuples(st.just("due"), st.sampled_from(NAMES)),
        st.tuples(st.just("later"), st.integers(1, 120_000)),
        st.tuples(st.just("seen"), st.sampled_from(INSTANCES)),
        st.tuples(st.just("forget"), st.sampled_from(INSTANCES)),
    ),
    max_size=40,
)


def apply(driver: Driver, happening: tuple[object, ...]) -> None:
    match happening:
        case ("request", str(name), str(problem)):
            driver.request(name, problem=problem)
        case ("ends", bool(well)):
            current = driver.group.current
            if current and current.target:
                driver.report(current.id, current.target.instance, "ValidateService", "Succeeded" if well else "Failed")
        case ("report", str(name), str(instance), str(event), str(status)):
            driver.report(name, instance, event, status)
        case ("due", str(name)):
            driver.due(name)
        case ("later", int(by_ms)):
            driver.now_ms += by_ms
        case ("seen", str(instance)):
            driver.seen(instance)
        case ("forget", str(instance)):
            driver.forget(instance)


def check(driver: Driver) -> None:
    commands = driver.commanded()
    assert len(commands) == len(set(commands)), "no instance is commanded twice for one deployment"
    current, targets = driver.group.current, {}
    for effect in driver.effects:
        if isinstance(effect, state.TargetMoved):
            targets[effect.deployment_id, effect.instance] = effect.status
            busy = [each for each, status in targets.items() if status == "InProgress"]
            assert len(busy) <= 1, "never two instances at once"
    busy = [each for each, status in targets.items() if status == "InProgress"]
    assert busy == ([(current.id, current.target.instance)] if current and current.target else [])
    endings = [
        effect.deployment.id
        for effect in driver.effects
        if isinstance(effect, state.DeploymentMoved) and effect.deployment.status in (state.SUCCEEDED, state.FAILED)
    ]
    assert len(endings) == len(set(endings)), "a deployment ends once"
    if current is None:
        assert driver.group.queue == (), "nothing waits while nothing runs"
        assert "Pending" not in targets.values(), "no instance waits for a deployment that is over"
    else:
        assert current.target is not None, "whatever runs waits for an instance"
        assert driver.group.armed_ms, "and a timer waits with it"


@settings(max_examples=300, deadline=None)
@given(happenings)
def test_every_history_keeps_the_promises(history: list[tuple[object, ...]]) -> None:
    """One instance at a time, one end each, nothing stuck, a timer while something is awaited."""
    driver = Driver(*INSTANCES)
    for happening in history:
        apply(driver, happening)
        check(driver)


@settings(max_examples=200, deadline=None)
@given(happenings)
def test_an_event_that_comes_twice_changes_nothing_more(history: list[tuple[object, ...]]) -> None:
    """Requests, reports and registrations may be delivered again: state and effects stay the same."""
    once, twice = Driver(*INSTANCES), Driver(*INSTANCES)
    for happening in history:
        if happening[0] == "ends":
            continue  # it reads the state, so a second time would be another report
        apply(once, happening)
        apply(twice, happening)
        if happening[0] in ("request", "report", "seen"):
            apply(twice, happening)
    assert twice.group == once.group
    assert twice.effects == once.effects


@settings(max_examples=200, deadline=None)
@given(happenings)
def test_what_failed_after_a_good_revision_is_taken_back(history: list[tuple[object, ...]]) -> None:
    """Where an application has a good revision, a rollout that failed on an instance has a rollback."""
    driver = Driver(*INSTANCES)
    for happening in history:
        good = dict(driver.group.last_good)
        already = len(driver.effects)
        apply(driver, happening)
        for effect in driver.effects[already:]:
            if not isinstance(effect, state.DeploymentMoved) or effect.deployment.status != state.FAILED:
                continue
            deployment = effect.deployment
            rolls_back = bool(good) and bool(deployment.touched) and not deployment.is_rollback
            assert bool(deployment.rollback_id) == rolls_back
