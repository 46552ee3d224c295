"""`sixfold identity token` as it is typed."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sixfold.cli.main import app


def sixfold(data_dir: Path, *arguments: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, ["--data-dir", str(data_dir), "identity", *arguments])


def claims(token: str) -> Any:
    """What a JWT says, its signature aside."""
    body = token.strip().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.fixture
def issuer(tmp_path: Path) -> Path:
    """A data folder with a development issuer."""
    assert sixfold(tmp_path / "data", "issuer", "create-local").exit_code == 0
    return tmp_path / "data"


def test_a_token_is_printed_for_people_and_for_machines(issuer: Path) -> None:
    """Alone on its line, or as JSON with what it is good for."""
    words = ("token", "--sub", "alice@example.com", "--claim", "team=risk", "--claim", "level=3")
    assert claims(sixfold(issuer, *words).stdout)["team"] == "risk"
    told = json.loads(sixfold(issuer, *words, "--json").stdout)
    assert (claims(told["token"])["sub"], claims(told["token"])["level"]) == ("alice@example.com", 3)
    assert (told["subject"], told["issuer"], told["lifetime_s"]) == ("alice@example.com", "local", 900)


def test_a_token_that_goes_to_a_file_is_not_printed(issuer: Path, tmp_path: Path) -> None:
    """The file is the owner's alone; JSON names it and holds no token."""
    path = tmp_path / "token.jwt"
    told = sixfold(issuer, "token", "--sub", "alice@example.com", "--out", str(path), "--json")
    assert json.loads(told.stdout)["file"] == str(path)
    assert "token" not in json.loads(told.stdout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert claims(path.read_text())["sub"] == "alice@example.com"
    assert sixfold(issuer, "token", "--sub", "a", "--out", str(path)).stdout == ""


def test_a_claim_that_is_nested_without_a_bottom_is_text(issuer: Path) -> None:
    """As any other value that is no JSON."""
    deep = "[" * 20_000
    assert claims(sixfold(issuer, "token", "--sub", "a", "--claim", f"deep={deep}").stdout)["deep"] == deep
