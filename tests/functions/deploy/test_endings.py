"""A deployment ends, whatever is wrong with the machine: the real functions on a full disk, without a signing key."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.deploy.system import hooks
from tests.support import disks

from sixfold import objects
from sixfold.testing import Harness
from sixfold_events import deploy as events
from sixfold_functions.deploy import handler, pack
from sixfold_functions.deploy.topics import TOPICS


@contextlib.asynccontextmanager
async def group_of(data_dir: Path, *instances: str) -> AsyncIterator[Harness]:
    """The deploy functions, and a group with these instances."""
    async with Harness(handler.start, handler.step, data_dir=data_dir, topics=TOPICS) as harness:
        for instance in instances:
            await harness.publish(events.AgentSeen(group="production", instance=instance, seen_at_ms=1))
        await harness.until_idle()
        yield harness


def revision(folder: Path) -> bytes:
    for path, text in hooks(ApplicationStart="true").items():
        folder.mkdir(exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755)
    data = io.BytesIO()
    pack.pack(folder, data)
    return data.getvalue()


async def request(harness: Harness, name: str, folder: Path) -> None:
    """Ask for a deployment of a revision with one hook."""
    artifact = await objects.FolderObjects(harness.data_dir / "artifacts").put(revision(folder))
    await harness.publish(
        events.DeploymentRequested(
            deployment_id=name,
            application="web",
            group="production",
            revision="1" * 40,
            artifact=artifact,
            creator="pipeline:web-1",
        )
    )


async def ended(harness: Harness) -> list[tuple[str, str, str]]:
    """(deployment, status, reason) of what has ended; nothing was parked."""
    await harness.until_idle()
    for each in (handler.start, handler.step):
        assert await harness.dead_letters(each) == []
    return [(e.deployment_id, e.status, e.reason) for e in await harness.emitted(events.DeploymentFinished)]


async def test_a_full_disk_fails_the_deployment_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no attempt has room to look at the artifact, whoever asked is told so; the next request works."""
    with disks.small(tmp_path / "full", size="64k") as full:
        monkeypatch.setattr(tempfile, "tempdir", str(full))
        async with group_of(tmp_path / "data", "i-1") as harness:
            disks.fill(full / "ballast")
            await request(harness, "d1", tmp_path / "revision")
            [(name, status, reason)] = await ended(harness)
            assert (name, status) == ("d1", "Failed")
            assert "cannot be looked at, in 10 attempts: " in reason
            assert "No space left on device" in reason
            (full / "ballast").unlink()
            await request(harness, "d2", tmp_path / "revision")
            await harness.until_idle()
            [command] = await harness.emitted(events.DeploymentCommanded)
            assert command.deployment_id == "d2"


async def test_a_command_that_cannot_be_signed_fails_the_deployment_with_the_reason(tmp_path: Path) -> None:
    """Without a signing key no instance can be told anything: the deployment ends, and so does the next one."""
    async with group_of(tmp_path / "data", "i-1", "i-2") as harness:
        (harness.data_dir / "deploy").write_text("in the way")
        for name in ("d1", "d2"):
            await request(harness, name, tmp_path / "revision")
        found = await ended(harness)
        assert [(name, status) for name, status, _ in found] == [("d1", "Failed"), ("d2", "Failed")]
        assert all(reason.startswith("no command to an instance can be signed: ") for _, _, reason in found)
        statuses = {each.deployment_id: each.status for each in await harness.emitted(events.DeploymentChanged)}
        assert statuses == {"d1": "Failed", "d2": "Failed"}
