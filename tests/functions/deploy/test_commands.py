"""`sixfold deploy …` as a process of its own, beside a running system."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.functions.deploy.system import System, hooks

from sixfold.errors import UsageError
from sixfold_events.deploy import InstanceChanged
from sixfold_functions.deploy import settings


async def sixfold(system: System, *words: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command, which must end with `code`."""
    command = [sys.executable, "-P", "-m", "sixfold", "--data-dir", str(system.data_dir), "deploy", *words]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, (out + err).decode()
    return out.decode(), err.decode()


def written(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


CREATE = ("create", "--group", "production", "--application", "web", "--directory")


async def test_a_folder_is_deployed_and_its_deployment_listed_and_shown(system: System, tmp_path: Path) -> None:
    """`create --wait` tells each lifecycle event and ends with 0; `list`, `show` and `instances` agree, as JSON too."""
    await system.start_agent("i-1")
    folder = written(tmp_path / "web", hooks(AfterInstall="echo installed"))
    out, progress = await sixfold(system, *CREATE, folder, "--revision", "abc", "--wait")
    assert "succeeded" in out
    assert "i-1  AfterInstall  Succeeded" in progress
    listed: list[dict[str, Any]] = json.loads((await sixfold(system, "list", "--json"))[0])
    assert [(each["application"], each["revision"], each["status"]) for each in listed] == [("web", "abc", "Succeeded")]
    name = listed[0]["deployment_id"]
    assert name in (await sixfold(system, "list", "--group", "production"))[0]
    assert json.loads((await sixfold(system, "list", "--group", "other", "--json"))[0]) == []
    shown = json.loads((await sixfold(system, "show", name, "--json"))[0])
    assert [each["status"] for each in shown["targets"]] == ["Succeeded"]
    tails = [each["log_tail"] for each in shown["steps"] if each["lifecycle_event"] == "AfterInstall"]
    assert "[stdout]installed" in tails[-1]
    assert "AfterInstall" in (await sixfold(system, "show", name))[0]
    instances = json.loads((await sixfold(system, "instances", "--json"))[0])
    assert [(each["instance"], each["group"]) for each in instances] == [("i-1", "production")]


async def test_a_deployment_that_fails_ends_the_command_with_1_and_the_reason(system: System, tmp_path: Path) -> None:
    """The reason names the instance, the lifecycle event and the script."""
    await system.start_agent("i-1")
    folder = written(tmp_path / "web", hooks(AfterInstall="exit 3"))
    out, _ = await sixfold(system, *CREATE, folder, "--wait", code=1)
    said = " ".join(out.split())
    assert "failed: i-1: AfterInstall failed: script AfterInstall.sh failed with exit code 3" in said


async def test_wrong_use_ends_with_2_and_says_what_to_do(system: System, tmp_path: Path) -> None:
    """An unknown deployment, an unknown instance, a folder that is none."""
    assert "`sixfold deploy list` lists all" in (await sixfold(system, "show", "d-none", code=2))[1]
    assert "there is no instance 'i-9'; known are: none" in (await sixfold(system, "forget", "i-9", code=2))[1]
    assert "is no folder" in (await sixfold(system, *CREATE, str(tmp_path / "gone"), code=2))[1]


async def test_a_forgotten_instance_is_deployed_to_no_more(system: System, tmp_path: Path) -> None:
    """A dead instance does not stand in the way once an operator has said that it is gone."""
    await system.start_agent("i-1")
    await system.start_agent("i-2")
    await system.kill_agent("i-1")
    out, _ = await sixfold(system, "forget", "i-1", "--json")
    assert json.loads(out) == {"instance": "i-1", "group": "production", "forgotten": True}
    await system.eventually(InstanceChanged, lambda each: each.forgotten)
    finished = await system.deploy("d1", hooks(AfterInstall="true"))
    assert finished.status == "Succeeded"
    assert await system.steps("d1", "i-1") == []
    assert [each["instance"] for each in json.loads((await sixfold(system, "instances", "--json"))[0])] == ["i-2"]


def test_settings_come_from_the_environment_and_nonsense_is_refused() -> None:
    """A wrong number is an error that names the variable."""
    assert settings.read({}) == settings.Settings()
    assert settings.read({"SIXFOLD_DEPLOY_ANSWER_S": "2.5"}).limits.answer_ms == 2_500
    for value in ("soon", "-1", "0", "nan"):
        with pytest.raises(UsageError, match="SIXFOLD_DEPLOY_SILENCE_S is"):
            settings.read({"SIXFOLD_DEPLOY_SILENCE_S": value})
