"""A process of a data folder has a member name that stays: its successor's, too, when it was killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from tests.support import buses

from sixfold.process import Process
from sixfold.supervisor import hosting, places
from sixfold_events.registry import Registry

HOLDER = """
import pathlib, sys
from sixfold.supervisor import places
with places.taken(pathlib.Path(sys.argv[1]), "run.orders"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_processes_of_one_kind_have_numbers_and_the_lowest_free_one_is_taken(tmp_path: Path) -> None:
    """Other kinds count for themselves."""
    with places.taken(tmp_path, "run.orders") as first:
        with places.taken(tmp_path, "run.orders") as second, places.taken(tmp_path, "run.bills") as other:
            assert len({first, second, other}) == 3
        with places.taken(tmp_path, "run.orders") as third:
            assert third == second
    with places.taken(tmp_path, "run.orders") as again:
        assert again == first


def test_two_data_folders_never_share_a_name(tmp_path: Path) -> None:
    """Though host, path within the container and functions be the same."""
    with places.taken(tmp_path / "a", "run.orders") as one, places.taken(tmp_path / "b", "run.orders") as two:
        assert one != two


@pytest.mark.parametrize("kind", ["run.a+b", "run." + "x" * 400, "run.größe/1"])
def test_a_name_is_one_that_kafka_takes(tmp_path: Path, kind: str) -> None:
    """`group.instance.id`: at most 249 characters of a few."""
    with places.taken(tmp_path, kind) as name:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name)


def test_whoever_follows_a_process_that_was_killed_has_its_name(tmp_path: Path) -> None:
    """The kernel lets go of what it held."""
    with places.taken(tmp_path, "run.orders") as first:
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with places.taken(tmp_path, "run.orders") as beside:
        assert beside != first
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with places.taken(tmp_path, "run.orders") as after:
        assert after == first


async def test_a_hosted_process_is_known_by_it_where_the_bus_keeps_places(place: buses.Place) -> None:
    """On Kafka; the embedded bus sees at once that a process has gone. A name that was given comes first."""
    found: list[str | None] = []

    async def run(process: Process) -> None:
        found.append(process.member)

    hosted = hosting.Hosted(
        name="run.orders", data_dir=place.data_dir, registry=Registry([]), run=run, bus_url=place.url, alone=False
    )
    await hosting.host(hosted)
    await hosting.host(hosted)
    with mock.patch.dict(os.environ, {hosting.MEMBER_VARIABLE: "mine"}):
        await hosting.host(hosted)
    assert found[2] == "mine"
    assert found[0] == found[1]
    assert (found[0] is not None) is place.is_kafka
