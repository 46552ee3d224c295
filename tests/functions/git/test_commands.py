"""`sixfold git …` as it is typed, and the real git configured by it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sixfold.cli.main import app
from sixfold.gateway import credentials


def sixfold(data_dir: Path, *arguments: str, stdin: str = "") -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, ["--data-dir", str(data_dir), *arguments], input=stdin)


@pytest.fixture
def started(data_dir: Path) -> Path:
    """A data folder on which a gateway was started."""
    credentials.bootstrap(data_dir)
    (data_dir / "gateway.json").write_text('{"url": "http://127.0.0.1:6480"}')
    return data_dir


def test_a_repository_is_made_once_and_listed(started: Path) -> None:
    """create makes it, a second one of the name is refused, list and log show it, empty as it is."""
    made = json.loads(sixfold(started, "git", "create", "web", "--json").stdout)
    assert made["clone_url"] == "http://127.0.0.1:6480/git/web"
    again = sixfold(started, "git", "create", "web")
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    (row,) = json.loads(sixfold(started, "git", "list", "--json").stdout)
    assert row == {"name": "web", "clone_url": made["clone_url"], "refs": {}}
    assert "(empty)" in sixfold(started, "git", "list").stdout
    assert json.loads(sixfold(started, "git", "log", "web", "--json").stdout) == []
    assert sixfold(started, "git", "clone-url", "web").stdout == "http://127.0.0.1:6480/git/web\n"
    told = json.loads(sixfold(started, "git", "clone-url", "web", "--json").stdout)
    assert told == {"name": "web", "clone_url": made["clone_url"]}


@pytest.mark.parametrize("name", ["../web", "web.git", ".web", ""])
def test_a_bad_name_is_refused(started: Path, name: str) -> None:
    """The message says what a name may be; nothing is made."""
    refused = sixfold(started, "git", "create", "--", name)
    assert (refused.exit_code, "is no repository name" in " ".join(refused.stderr.split())) == (2, True)
    assert not (started / "git").exists() or not any((started / "git").iterdir())


def test_what_is_not_there_says_how_to_make_it(started: Path, tmp_path: Path) -> None:
    """A missing repository and a gateway that was never started: exit code 2 and the command to use."""
    for verb in ("log", "clone-url"):
        missing = sixfold(started, "git", verb, "nope")
        assert (missing.exit_code, "sixfold git create nope" in " ".join(missing.stderr.split())) == (2, True)
    idle = sixfold(tmp_path / "idle", "git", "setup")
    assert (idle.exit_code, "sixfold up" in " ".join(idle.stderr.split())) == (2, True)


def test_git_finds_the_credential_by_what_setup_configures(started: Path, tmp_path: Path) -> None:
    """git in a configured working copy asks the real command line, and no helper of the user's own sees the token."""
    folder = tmp_path / "with space"
    (tmp_path / ".gitconfig").write_text('[credential]\n\thelper = "!echo username=thief; echo password=own; :"\n')
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for _ in range(2):
        assert sixfold(started, "git", "setup", str(folder), "--remote", "web").exit_code == 0
    printed = sixfold(started, "git", "setup", "--remote", "web").stdout.splitlines()
    told = json.loads(sixfold(started, "git", "setup", str(folder), "--remote", "web", "--json").stdout)
    assert (told["folder"], told["remote"]) == (str(folder), "http://127.0.0.1:6480/git/web")
    assert [shlex.join(words) for words in told["commands"]] == printed
    remote = subprocess.run(
        ["git", "-C", str(folder), "remote", "get-url", "sixfold"], capture_output=True, text=True, check=True
    )
    assert remote.stdout == "http://127.0.0.1:6480/git/web\n"
    asked = subprocess.run(
        ["git", "-C", str(folder), "credential", "fill"],
        input="protocol=http\nhost=127.0.0.1:6480\n\n",
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "GIT_TERMINAL_PROMPT": "0",
        },
    )
    token = credentials.token(started / "credentials" / "bootstrap.token")
    assert f"password={token}\n" in asked.stdout, asked.stderr
    other = sixfold(started, "git", "credential", "get", stdin="protocol=http\nhost=example.org\n\n")
    assert (other.exit_code, other.stdout) == (0, "")
