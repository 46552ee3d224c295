"""`sixfold volume create`, `plan` and the rest as typed, against a running system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.cli.commands import Sixfold, eventually, running

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture
def sixfold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sixfold]:
    """The command line, and a system without the default volume's copies: the machine has enough to do."""
    for name in ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = Sixfold(tmp_path / "data")
    without = [f"volume.storage.{zone}{number}" for zone in "abc" for number in "12"]
    words = [word for name in ("gateway", "deploy.agent", *without) for word in ("--without", name)]
    with running(made, "up", "--port", "0", *words, ready="Sixfold is up"):
        yield made


def test_a_volume_of_two_groups_from_the_command_line(sixfold: Sixfold) -> None:
    """Made, looked at, written, read, with a copy of one group stopped and replaced; a plan never changes."""
    would = sixfold.json("volume", "plan", "--volume", "orders", "--groups", "2", "--stripe", "2")
    assert (would["exists"], [group["group"] for group in would["groups"]]) == (False, ["orders.g1", "orders.g2"])
    made = sixfold.json("volume", "create", "orders", "--groups", "2", "--stripe", "2")
    assert made == {**would, "exists": True} == sixfold.json("volume", "plan", "--volume", "orders")
    assert "1 to 2, and every 4 on" in sixfold.good("volume", "plan", "--volume", "orders")
    done = sixfold.json("volume", "append", "--count", "5", "--size", "21", "--volume", "orders", "--timeout", "90")
    assert (done["first_lsn"], done["last_lsn"]) == (1, 5)
    read = sixfold.json("volume", "read", "--from", "2", "--count", "3", "--volume", "orders")
    assert [record["lsn"] for record in read["records"]] == [2, 3, 4]
    sixfold.good("volume", "stop", "a1", "--volume", "orders.g2")
    status = sixfold.json("volume", "status", "--volume", "orders")
    assert [group["answering"] for group in status["groups"]] == [6, 5]
    assert status["writable"]
    assert "2 groups, durable to LSN 5" in sixfold.good("volume", "status", "--volume", "orders")
    replaced = sixfold.json("volume", "replace", "a1", "--volume", "orders.g2", "--timeout", "60")
    assert sorted(replaced["members"]) == ["a2", "a3", "b1", "b2", "c1", "c2"]

    def shows_it() -> bool:
        plan = sixfold.json("volume", "plan", "--volume", "orders")
        return bool(plan["groups"][1]["copies"]["a"] == ["a2", "a3"])

    eventually(shows_it, "the plan shows the new copy")
    for words in (["volume", "clone", "copied", "--volume", "orders"], ["run", "volume.backup", "--volume", "orders"]):
        assert "Backups, restores and clones of such a volume are not there yet" in sixfold.run(*words).stderr
    assert "orders.g1" in sixfold.run("volume", "scrub", "a2", "--volume", "orders").stderr
    assert sixfold.json("volume", "scrub", "a2", "--volume", "orders.g1")[0]["state"] == "whole"
    refused = sixfold.run("volume", "create", "orders", "--groups", "3")
    assert refused.returncode == 2
    assert "exists with another plan" in refused.stderr
