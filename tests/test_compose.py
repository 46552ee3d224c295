"""`compose.yaml` keeps its promises: three zones, six copies in theirs, commands that there are, nothing open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import commandline

from sixfold import catalogue
from sixfold.capability import Service
from sixfold.cli import run
from sixfold.supervisor import hosting, plan
from sixfold_functions.volume.core import layout

TEXT = (Path(__file__).parents[1] / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
BROKERS = {name: each for name, each in SERVICES.items() if "KAFKA_NODE_ID" in each.get("environment", {})}
OURS = {name: each for name, each in SERVICES.items() if name not in BROKERS}
ZONE = "sixfold.zone"
VARIABLE = re.compile(r"\$\{[A-Z_]+:-[^}]+\}")


def service_of(command: list[str]) -> tuple[Service | None, dict[str, str]]:
    """The service that a `… run SERVICE --option value` starts, with its options; None for another command."""
    if "run" not in command:
        return None, {}
    names, options = run.split_options(command[command.index("run") + 1 :])
    [name] = names
    return catalogue.installed().services[name], options


STORAGE = {
    name: options["copy"]
    for name, each in OURS.items()
    for service, options in [service_of(each["command"])]
    if service is not None and service.name == "volume.storage"
}


def test_a_broker_stands_in_each_zone() -> None:
    """Its rack, which Kafka places replicas by, is its zone; all three vote, and each has its own name."""
    assert {each["environment"]["KAFKA_BROKER_RACK"] for each in BROKERS.values()} == set(layout.ZONES)
    assert len(BROKERS) == 3
    voters = []
    for name, each in BROKERS.items():
        settings = each["environment"]
        assert each["labels"][ZONE] == settings["KAFKA_BROKER_RACK"]
        assert settings["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
        voters.append(f"{settings['KAFKA_NODE_ID']}@{name}:9093")
    for each in BROKERS.values():
        settings = each["environment"]
        assert settings["KAFKA_CONTROLLER_QUORUM_VOTERS"] == ",".join(voters)
        # What a broker keeps outlives its container.
        assert f":{settings['KAFKA_LOG_DIRS']}" in each["volumes"][0]


def test_every_copy_has_a_node_in_its_zone_with_a_disk_of_its_own() -> None:
    """Six nodes, two a zone; what one wrote is on no other's disk."""
    assert sorted(STORAGE.values()) == sorted(layout.COPIES)
    zones = {place.copy: place.zone for place in layout.PLACES}
    for name, copy in STORAGE.items():
        assert SERVICES[name]["labels"][ZONE] == zones[copy], name
    disks = [disk.partition(":")[0] for each in SERVICES.values() for disk in each["volumes"]]
    assert len(set(disks)) == len(SERVICES)
    assert set(disks) == set(yaml.safe_load(TEXT)["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_is_one_of_the_command_line(name: str) -> None:
    """It parses, names what is installed with options that it takes, and knows every broker: a zone may be lost."""
    command = OURS[name]["command"]
    commandline.check(command)
    service, options = service_of(command)
    assert service is None or set(options) <= set(service.options)
    assert command[command.index("--bus") + 1] == "kafka://" + ",".join(f"{broker}:9092" for broker in BROKERS)


def test_what_one_service_leaves_out_others_run() -> None:
    """The process tree without the storage nodes, and the storage nodes, are the whole system."""
    [up] = [each["command"] for each in OURS.values() if "up" in each["command"]]
    left_out = [up[index + 1] for index, word in enumerate(up) if word == "--without"]
    known = catalogue.installed().capabilities
    everything = {spec.name for spec in plan.plan(known, plan.Settings(data_dir=Path()))}
    tree = {spec.name for spec in plan.plan(known, plan.Settings(data_dir=Path(), without=tuple(left_out)))}
    assert everything - tree == {f"volume.storage.{copy}" for copy in STORAGE.values()}


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_named_by_a_variable(name: str) -> None:
    """Where nothing can be pulled, locally built images serve; the one that ours is built from likewise."""
    assert VARIABLE.fullmatch(SERVICES[name]["image"])
    for line in re.findall(r"FROM (.*)", str(SERVICES[name].get("build", ""))):
        assert VARIABLE.match(line)


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_to_others(name: str) -> None:
    """Whatever is published is on loopback."""
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_checked_and_waited_for(name: str) -> None:
    """Every service says whether it serves, and ours wait for all brokers to."""
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    if name in OURS:
        assert SERVICES[name]["depends_on"] == {broker: {"condition": "service_healthy"} for broker in BROKERS}
    if name in STORAGE:
        node = f"volume.storage.{STORAGE[name]}"
        assert check["test"][1:] == ["test", "-e", f"/data/run/{node}{hosting.READY}"]
