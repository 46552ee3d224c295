"""Nothing between a moved ref and its event loses the event, and nothing makes it another one."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import cast

import pytest
from tests.functions.git import serving
from tests.functions.git.client import Git, GitFailedError
from tests.support.waiting import eventually

from sixfold.bus import opening, port
from sixfold.clock import SystemClock
from sixfold_functions.git.client import GitRepositories
from sixfold_functions.git.publication import Publication
from sixfold_functions.git.settings import GitSettings


async def arrived(bus: port.Bus, number: int) -> list[tuple[str, str]]:
    """Ids and new commits of the events, once there are `number`."""

    async def enough() -> list[tuple[str, str]]:
        found = await serving.pushed(bus)
        return [(identifier, event.new) for identifier, event in found] if len(found) >= number else []

    return await eventually(enough, f"{number} events in the log")


async def test_a_gateway_killed_between_the_ref_and_the_event_publishes_it_after_the_restart(
    git: Git, data_dir: Path, repositories: GitRepositories
) -> None:
    """kill -9 after the ref moved and before the publish: the push is not acknowledged, the event still comes, once."""
    await repositories.create("web")
    async with serving.separate(data_dir, "stuck") as (url, child):
        folder = await git.working_copy("work", f"{url}/git/web")
        head = (await git("rev-parse", "HEAD", cwd=folder)).strip()
        push = asyncio.create_task(git("push", "origin", "main", cwd=folder))
        await eventually(lambda: repositories.refs("web"), "the ref moved")
        child.kill()
        with pytest.raises(GitFailedError):
            await push
    for _ in range(2):
        async with serving.separate(data_dir) as (_, child), opening.open_bus(data_dir=data_dir) as bus:
            ((_, new),) = await arrived(bus, 1)
            assert new == head


async def test_a_log_that_takes_nothing_delays_the_event_and_the_client_is_told(
    git: Git, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """The push fails with the reason, though the ref moved; the event comes by itself once the log is back."""
    await repositories.create("web")
    faulty = serving.FaultyBus(bus, refuses=True)
    async with serving.serving(data_dir, cast("port.Bus", faulty)) as url:
        folder = await git.working_copy("work", f"{url}/git/web")
        head = (await git("rev-parse", "HEAD", cwd=folder)).strip()
        with pytest.raises(GitFailedError, match=r"git\.pushed is not in the log yet"):
            await git("push", "origin", "main", cwd=folder)
        assert repositories.refs("web") == {"refs/heads/main": head}
        assert await serving.pushed(bus) == []
        faulty.refuses = False
        ((_, new),) = await arrived(bus, 1)
        assert new == head


async def test_an_event_published_twice_has_one_id(
    git: Git, url: str, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A crash after the publish and before that was noted: the sweep publishes again, with the same id."""
    path = await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    await git("push", "--quiet", "origin", "main", cwd=folder)
    noted = path / "sixfold" / "published.json"
    shutil.copy(noted, data_dir / "before")
    await git.commit(folder, "file", "1\n")
    await git("push", "--quiet", "origin", "main", "main:other", cwd=folder)
    shutil.copy(data_dir / "before", noted)
    publication = Publication(repositories, bus, SystemClock())
    assert await publication.sweep() == 2
    assert await publication.sweep() == 0
    found = await arrived(bus, 5)
    assert sorted(found[1:3]) == sorted(found[3:5])


async def test_moves_made_in_the_folder_are_published_too(
    git: Git, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A push past the gateway, straight into the folder, is found by the sweep, each step of it."""
    path = await repositories.create("web")
    folder = await git.working_copy("work", str(path))
    commits = []
    for number in range(3):
        commits.append(await git.commit(folder, "file", f"{number}\n"))
        await git("push", "--quiet", "origin", "main", cwd=folder)
    assert await Publication(repositories, bus, SystemClock()).sweep() == 3
    assert [new for _, new in await arrived(bus, 3)] == commits


async def test_a_repository_made_again_has_other_events(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """The same commits pushed to a new repository of an old name are new events, not duplicates of the old ones."""
    folder = await git.working_copy("work", f"{url}/web")
    for _ in range(2):
        path = await repositories.create("web")
        await git("push", "--quiet", "origin", "main", cwd=folder)
        shutil.rmtree(path)
    (first, one), (second, other) = await arrived(bus, 2)
    assert one == other
    assert first != second


async def test_packing_a_repository_changes_nothing_of_what_is_published(
    git: Git, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """Many pushes are packed into one behind their backs; each is one event all the same, before and after."""
    path = await repositories.create("web")
    async with serving.serving(data_dir, bus, settings=GitSettings(packs_max=2)) as url:
        folder = await git.working_copy("work", f"{url}/git/web")
        commits = []
        for number in range(6):
            commits.append(await git.commit(folder, "file", f"{number}\n"))
            await git("push", "--quiet", "origin", "main", cwd=folder)
        await eventually(lambda: len(list(path.glob("objects/pack/*.pack"))) <= 2, "the repository is packed")
        assert [new for _, new in await arrived(bus, 6)] == commits
        await git("clone", "--quiet", f"{url}/git/web", "copy")
    assert await Publication(repositories, bus, SystemClock()).sweep() == 0
