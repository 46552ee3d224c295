"""How the tests find a Kafka, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support import brokers


def test_a_broker_named_by_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIXFOLD_TEST_KAFKA comes first; nothing else is looked for."""
    monkeypatch.setenv("SIXFOLD_TEST_KAFKA", "broker.example:9092")
    monkeypatch.setenv("PATH", "/nowhere")
    with brokers.found() as bootstrap:
        assert bootstrap == "broker.example:9092"


@pytest.mark.parametrize(("process", "broker"), [("gw0", "a:1"), ("gw1", "b:2"), ("gw2", "a:1"), ("", "a:1")])
def test_processes_of_one_run_take_turns_with_the_brokers_that_are_named(
    monkeypatch: pytest.MonkeyPatch, process: str, broker: str
) -> None:
    """Each has its own where there are enough."""
    monkeypatch.setenv("SIXFOLD_TEST_KAFKA", "a:1 b:2")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if process:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", process)
    with brokers.found() as bootstrap:
        assert bootstrap == broker


def test_without_broker_engine_and_java_the_reason_names_all_three(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever reads the skip knows what would help."""
    monkeypatch.delenv("SIXFOLD_TEST_KAFKA", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(brokers.NoBrokerError, match=r"SIXFOLD_TEST_KAFKA.*container engine.*java and mvn"),
        brokers.found(),
    ):
        pass


def test_a_missing_service_is_a_skip_at_a_desk_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI=true never passes by leaving tests out."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Kafka"):
        missing("no Kafka")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Kafka"):
        missing("no Kafka")
