"""The system's processes are data, decided from what capabilities declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from sixfold import errors
from sixfold.capability import Capability, Service
from sixfold.supervisor import control, plan

VOLUME = Capability(
    name="volume",
    summary="",
    functions=("sixfold_functions.volume.handler",),
    services=(
        Service(name="volume.storage", run="m:run", options=("copy",), instances=({"copy": "a1"}, {"copy": "b1"})),
        Service(name="volume.writer", run="m:run"),
    ),
)
AGENTS = Capability(
    name="deploy",
    summary="",
    services=(Service(name="deploy.agent", run="m:run", options=("name",), instances=({"name": "i-1"},), bus=False),),
)
SETTINGS = plan.Settings(data_dir=Path("/data"), bus_url="kafka://k:9092")


def test_every_instance_is_a_process_named_by_its_options() -> None:
    """Services with several instances, one functions process, one gateway; agents after the gateway."""
    specs = plan.plan([VOLUME, AGENTS], SETTINGS)
    assert [(spec.name, spec.stage) for spec in specs] == [
        ("functions", 0),
        ("gateway", 0),
        ("volume.storage.a1", 0),
        ("volume.storage.b1", 0),
        ("volume.writer", 0),
        ("deploy.agent.i-1", 1),
    ]
    storage = next(spec for spec in specs if spec.name == "volume.storage.a1")
    assert storage.command[-4:] == ("run", "volume.storage", "--copy", "a1")
    assert [spec.name for spec in specs if spec.listens] == ["gateway"]


def test_a_process_without_bus_access_is_not_told_where_the_bus_is() -> None:
    """An agent's command line names no bus."""
    agent = plan.plan([AGENTS], SETTINGS)[-1]
    assert agent.name == "deploy.agent.i-1"
    assert "--bus" not in agent.command
    assert not any("kafka" in word for word in agent.command)


def test_what_runs_elsewhere_is_left_out() -> None:
    """`--without volume.storage` leaves out all its instances, and nothing that merely begins alike."""
    without = plan.Settings(data_dir=Path("/data"), without=("volume.storage", "volume.writ"))
    names = [spec.name for spec in plan.plan([VOLUME, AGENTS], without)]
    assert names == ["functions", "gateway", "volume.writer", "deploy.agent.i-1"]


def test_no_functions_process_where_there_is_no_function() -> None:
    """Nothing is started that has nothing to do; a user's app is something to do."""
    assert [spec.name for spec in plan.plan([AGENTS], SETTINGS)] == ["gateway", "deploy.agent.i-1"]
    own = plan.Settings(data_dir=Path("/data"), apps=("/app.py",))
    specs = {spec.name: spec for spec in plan.plan([AGENTS], own)}
    assert "/app.py" in specs["functions"].command


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], ["gateway", "volume.storage.a1", "volume.storage.a2", "volume.storage.b1"]),
        (["volume.storage.a"], ["volume.storage.a1", "volume.storage.a2"]),
        (["volume.storage.a1"], ["volume.storage.a1"]),
        (["volume.storage", "gateway"], ["gateway", "volume.storage.a1", "volume.storage.a2", "volume.storage.b1"]),
    ],
)
def test_names_mean_a_process_or_all_that_start_alike(names: list[str], found: list[str]) -> None:
    """A name that is a process means it alone; another one all that start with it."""
    known = ["gateway", "volume.storage.a1", "volume.storage.a2", "volume.storage.b1"]
    assert list(control.matching(names, known)) == found


def test_a_name_that_is_one_process_does_not_mean_its_longer_namesakes() -> None:
    """`i-1` is not `i-10`."""
    assert control.matching(["deploy.agent.i-1"], ["deploy.agent.i-1", "deploy.agent.i-10"]) == ("deploy.agent.i-1",)


@pytest.mark.parametrize("name", ["volume.storage.x", ""])
def test_a_name_that_means_nothing_is_refused_with_what_there_is(name: str) -> None:
    """Nothing is stopped by mistake."""
    with pytest.raises(errors.UsageError, match="gateway"):
        control.matching([name], ["gateway"])
