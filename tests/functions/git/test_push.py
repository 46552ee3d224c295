"""What a real git sees, and what the log then holds: pushes."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path

import pytest
from tests.functions.git import serving
from tests.functions.git.client import Git, GitFailedError

from sixfold.bus import port
from sixfold_events.git import NO_COMMIT
from sixfold_functions.git.client import GitRepositories


async def moves(bus: port.Bus) -> list[tuple[str, str, str]]:
    return [(event.ref, event.old, event.new) for _, event in await serving.pushed(bus)]


async def test_a_clone_gives_back_what_was_pushed(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A push is in the repository and in the log, and a clone has it; git asks the credential helper by itself."""
    git = dataclasses.replace(git, helper=True)
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    head = await git.commit(folder, "src/app.py", "print('hello')\n")
    await git("push", "origin", "main", cwd=folder)
    await git("clone", "--quiet", f"{url}/web", "copy")
    assert (git.home / "copy" / "src" / "app.py").read_text() == "print('hello')\n"
    assert repositories.refs("web") == {"refs/heads/main": head}
    assert repositories.file("web", head, "src/app.py") == b"print('hello')\n"
    assert repositories.log("web")[0].commit == head
    ((_, event),) = await serving.pushed(bus)
    assert (event.repository, event.ref, event.old, event.new) == ("web", "refs/heads/main", NO_COMMIT, head)
    assert event.pusher == "operator:bootstrap"


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_every_version_of_the_protocol_is_spoken(
    git: Git, url: str, repositories: GitRepositories, version: str
) -> None:
    """Clients of all three protocol versions clone, fetch a part and fetch on; version 2 is really in use."""
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web.git")
    for number in range(5):
        await git.commit(folder, "file", f"{number}\n")
    chosen = ("-c", f"protocol.version={version}")
    await git(*chosen, "push", "--quiet", "origin", "main", cwd=folder)
    trace = await git(*chosen, "clone", f"{url}/web", "copy", env={"GIT_TRACE_PACKET": "1"})
    assert ("clone< version 2" in trace) == (version == "2")
    await git(*chosen, "clone", "--quiet", "--depth=1", f"{url}/web", "shallow")
    assert (await git("rev-list", "--count", "HEAD", cwd=git.home / "shallow")).strip() == "1"
    await git(*chosen, "fetch", "--quiet", "--unshallow", cwd=git.home / "shallow")
    assert (await git("rev-list", "--count", "HEAD", cwd=git.home / "shallow")).strip() == "6"
    await git(*chosen, "clone", "--quiet", "--filter=blob:none", f"{url}/web", "partial")
    assert (git.home / "partial" / "file").read_text() == "4\n"
    head = await git.commit(folder, "file", "more\n")
    await git(*chosen, "push", "--quiet", "origin", "main", cwd=folder)
    await git(*chosen, "pull", "--quiet", cwd=git.home / "copy")
    assert (await git("rev-parse", "HEAD", cwd=git.home / "copy")).strip() == head


async def test_each_ref_of_a_push_is_an_event(git: Git, url: str, bus: port.Bus, repositories: GitRepositories) -> None:
    """Branches and tags, hundreds in one push, and deletions: one event for each."""
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    head = (await git("rev-parse", "HEAD", cwd=folder)).strip()
    names = [f"refs/heads/b{number}" for number in range(250)] + ["refs/tags/v1"]
    await git("push", "--quiet", "origin", *(f"HEAD:{name}" for name in names), cwd=folder)
    assert sorted(await moves(bus)) == sorted((name, NO_COMMIT, head) for name in names)
    await git("push", "--quiet", "origin", ":refs/heads/b7", ":refs/tags/v1", cwd=folder)
    assert sorted((await moves(bus))[251:]) == [("refs/heads/b7", head, NO_COMMIT), ("refs/tags/v1", head, NO_COMMIT)]
    await git("push", "--quiet", "origin", "HEAD:refs/heads/b7", cwd=folder)
    assert (await moves(bus))[253:] == [("refs/heads/b7", NO_COMMIT, head)]
    assert len({identifier for identifier, _ in await serving.pushed(bus)}) == 254


async def test_a_push_that_changes_nothing_is_no_event(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """Pushing what is there already publishes nothing."""
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    await git("push", "--quiet", "origin", "main", cwd=folder)
    await git("push", "--quiet", "origin", "main", cwd=folder)
    assert len(await moves(bus)) == 1


async def test_a_push_that_would_drop_commits_is_refused_where_that_was_asked_for(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """With `fast_forward_only` a forced push and a deletion are refused and the branch stays; without, both go."""
    for name, strict in (("strict", True), ("free", False)):
        await repositories.create(name, fast_forward_only=strict)
        folder = await git.working_copy(f"work-{name}", f"{url}/{name}")
        head = await git.commit(folder, "file", "1\n")
        await git("push", "--quiet", "origin", "main", "main:other", cwd=folder)
        await git("reset", "--quiet", "--hard", "HEAD~1", cwd=folder)
        rewritten = await git.commit(folder, "file", "2\n")
        before = await moves(bus)
        if strict:
            with pytest.raises(GitFailedError, match="non-fast-forward"):
                await git("push", "--force", "origin", "main", cwd=folder)
            with pytest.raises(GitFailedError, match="deletion prohibited"):
                await git("push", "origin", ":other", cwd=folder)
            assert repositories.refs(name)["refs/heads/main"] == head
            assert await moves(bus) == before
        else:
            await git("push", "--force", "--quiet", "origin", "main", cwd=folder)
            assert repositories.refs(name)["refs/heads/main"] == rewritten
            assert set(await moves(bus)) - set(before) == {("refs/heads/main", head, rewritten)}


async def test_a_push_to_a_missing_repository_is_told_how_to_make_it(git: Git, url: str) -> None:
    """Nothing is made by a push; the answer has the command that makes it."""
    folder = await git.working_copy("work", f"{url}/web")
    with pytest.raises(GitFailedError) as failed:
        await git("push", "origin", "main", cwd=folder)
    words = re.sub(r"\s+(remote: )?", " ", str(failed.value))
    assert "repository 'web' does not exist; create it with: sixfold git create web" in words
    assert not (git.data_dir / "git" / "web.git").exists()


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "%2e%2e", "-x", ".hidden", "a%00b"])
async def test_a_name_that_leads_elsewhere_is_not_served(git: Git, url: str, name: str) -> None:
    """No address reaches a folder outside the repositories'."""
    with pytest.raises(GitFailedError):
        await git("ls-remote", f"{url}/{name}")


async def test_a_wrong_or_missing_credential_is_refused(git: Git, url: str, repositories: GitRepositories) -> None:
    """Without the credential git gets nothing, not even the refs."""
    await repositories.create("web")
    stranger = Git(git.home, git.home / "elsewhere", helper=True)
    with pytest.raises(GitFailedError, match=r"could not read Username|Authentication failed"):
        await stranger("ls-remote", f"{url}/web")
    wrong = url.replace("http://", "http://sixfold:wrong@")
    with pytest.raises(GitFailedError, match="Authentication failed"):
        await stranger("ls-remote", f"{wrong}/web")


async def test_of_pushes_at_once_to_a_branch_one_wins_and_the_others_are_told(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """No push is reported as done whose commit is not on the branch; the winner's is there, and in the log."""
    await repositories.create("web")
    first = await git.working_copy("work", f"{url}/web")
    await git("push", "--quiet", "origin", "main", cwd=first)
    base = (await git("rev-parse", "HEAD", cwd=first)).strip()
    heads = []
    for number in range(6):
        await git("clone", "--quiet", f"{url}/web", f"copy{number}")
        heads.append(await git.commit(git.home / f"copy{number}", f"file{number}", "x\n"))
    results = await asyncio.gather(
        *(git("push", "origin", "main", cwd=git.home / f"copy{number}") for number in range(6)),
        return_exceptions=True,
    )
    winners = [head for head, result in zip(heads, results, strict=True) if isinstance(result, str)]
    assert len(winners) == 1
    assert repositories.refs("web") == {"refs/heads/main": winners[0]}
    assert (await moves(bus))[1:] == [("refs/heads/main", base, winners[0])]
    for result in results:
        assert isinstance(result, str) or re.search("rejected|failed to (push|update)", str(result))


async def test_pushes_at_once_to_many_branches_all_arrive(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories
) -> None:
    """More pushes than run at once: all wait for their turn, none is lost."""
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    head = (await git("rev-parse", "HEAD", cwd=folder)).strip()
    await asyncio.gather(
        *(git("push", "--quiet", f"{url}/web", f"HEAD:refs/heads/b{number}", cwd=folder) for number in range(8))
    )
    expected = {f"refs/heads/b{number}": head for number in range(8)}
    assert repositories.refs("web") == expected
    assert sorted(await moves(bus)) == sorted((ref, NO_COMMIT, head) for ref in expected)


async def test_a_broken_object_is_refused(git: Git, url: str, repositories: GitRepositories) -> None:
    """Pushed objects are checked: a tree with a path that git refuses to check out does not get in."""
    await repositories.create("web")
    folder = await git.working_copy("work", f"{url}/web")
    blob = (await git("hash-object", "-w", "README.md", cwd=folder)).strip()
    entry = b"100644 .git\0" + bytes.fromhex(blob)
    (folder / "entry").write_bytes(entry)
    tree = (await git("hash-object", "-w", "-t", "tree", "--literally", "entry", cwd=folder)).strip()
    commit = (await git("commit-tree", tree, "-m", "evil", cwd=folder)).strip()
    with pytest.raises(GitFailedError, match=r"hasDotgit|fsck|unpacker error"):
        await git("push", "origin", f"{commit}:refs/heads/evil", cwd=folder)
    assert repositories.refs("web") == {}


async def test_a_hook_in_the_repository_does_not_run(git: Git, url: str, repositories: GitRepositories) -> None:
    """Whatever lies in a repository's folder, a push runs none of it."""
    path = await repositories.create("web")
    hook, mark = path / "hooks" / "post-receive", path / "ran"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    folder = await git.working_copy("work", f"{url}/web")
    await git("push", "--quiet", "origin", "main", cwd=folder)
    assert not mark.exists()


async def test_the_helper_gives_the_credential_to_the_gateway_alone(git: Git, url: str, data_dir: Path) -> None:
    """Another host, port or protocol gets no token, `store` and `erase` do nothing."""
    from sixfold_functions.git import credential

    host = url.removeprefix("http://").partition("/")[0]
    right = ["protocol=http\n", f"host={host}\n", "\n"]
    token = (data_dir / "credentials" / "bootstrap.token").read_text().strip()
    assert credential.respond(data_dir, "get", right) == f"username=sixfold\npassword={token}\n"
    for wrong in (
        ["protocol=https\n", f"host={host}\n"],
        ["protocol=http\n", "host=127.0.0.1:1\n"],
        ["protocol=http\n", f"host={host}.example.org\n"],
        [],
    ):
        assert credential.respond(data_dir, "get", wrong) == ""
    assert credential.respond(data_dir, "store", right) == ""
    assert credential.respond(data_dir, "erase", right) == ""
