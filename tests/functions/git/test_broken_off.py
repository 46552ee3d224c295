"""Whatever becomes of a push's connection, the moves that git made of it are in the log, and nothing else suffers."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import cast

import pytest
import structlog
from tests.functions.git import serving
from tests.functions.git.client import Git, GitFailedError
from tests.functions.git.test_crash import arrived
from tests.functions.git.test_stream import request_head, serving_git
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold.clock import SystemClock
from sixfold_events.git import NO_COMMIT
from sixfold_functions.git import protocol
from sixfold_functions.git.client import GitRepositories
from sixfold_functions.git.publication import Publication
from sixfold_functions.git.settings import GitSettings
from sixfold_functions.git.sweep import Sweep

REF = "refs/heads/main"


async def push_of(folder: Path, head: str) -> bytes:
    """The body of a push of a new working copy, as git sends it."""
    child = await asyncio.create_subprocess_exec(
        *("git", "pack-objects", "--quiet", "--revs", "--all", "--stdout"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    pack, _ = await child.communicate()
    command = f"{NO_COMMIT} {head} {REF}\0 report-status side-band-64k agent=test"
    return protocol.packet(command.encode()) + protocol.FLUSH + pack


async def connect(url: str) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.removeprefix("http://").split("/")[0].split(":")[1]))
    return writer


async def working_copy(git: Git, url: str) -> tuple[Path, str]:
    folder = await git.working_copy("work", f"{url}/web")
    return folder, (await git("rev-parse", "HEAD", cwd=folder)).strip()


def receive_pack_is(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on git's `receive-pack` of a push is `script`, in which `"$git" "$@"` is the real one."""
    wrapper = folder / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f"#!/bin/sh\ngit={shutil.which('git')}\n"
        'case "$*" in *advertise-refs*) ;; receive-pack*)\n' + script + '\nexit;;\nesac\nexec "$git" "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")


async def test_a_client_that_leaves_after_its_push_was_sent_does_not_stop_it(
    git: Git,
    url: str,
    data_dir: Path,
    bus: port.Bus,
    repositories: GitRepositories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Git has the whole push, so it carries it out and the log has it, though nobody hears the report."""
    await repositories.create("web")
    folder, head = await working_copy(git, url)
    body, got, go = await push_of(folder, head), tmp_path / "got", tmp_path / "go"
    wait = f'cat >{got}.part; mv {got}.part {got}; while [ ! -e {go} ]; do sleep 0.02; done; "$git" "$@" <{got}'
    receive_pack_is(wait, tmp_path, monkeypatch)
    writer = await connect(url)
    writer.write(request_head(data_dir, "git-receive-pack", len(body)) + body)
    await eventually(got.exists, "git has the whole push")
    writer.transport.abort()
    await writer.wait_closed()
    assert repositories.refs("web") == {}
    go.touch()
    assert [new for _, new in await arrived(bus, 1)] == [head]
    assert repositories.refs("web") == {REF: head}


async def test_a_client_that_leaves_before_its_request_ended_loses_no_event(
    git: Git, url: str, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """Git moves the ref when it has the pack; that the body never ended makes no difference to the event."""
    path = await repositories.create("web")
    folder, head = await working_copy(git, url)
    body = await push_of(folder, head)
    writer = await connect(url)
    request = request_head(data_dir, "git-receive-pack", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    writer.write(request + f"{len(body):x}\r\n".encode() + body + b"\r\n")
    await eventually(lambda: repositories.refs("web"), "the ref moved")
    await eventually(lambda: not serving_git(path), "git has ended")
    writer.transport.abort()
    assert [new for _, new in await arrived(bus, 1)] == [head]


async def test_a_push_whose_answer_cannot_be_taken_loses_no_event(
    git: Git, url: str, bus: port.Bus, repositories: GitRepositories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where git says more, or other, than the server takes, the client hears of it and the moves are told."""
    await repositories.create("web")
    folder, head = await working_copy(git, url)
    receive_pack_is('"$git" "$@"; echo "this is no pkt-line"', tmp_path, monkeypatch)
    with pytest.raises(GitFailedError):
        await git("push", "origin", "main", cwd=folder)
    assert [new for _, new in await arrived(bus, 1)] == [head]


async def test_a_call_that_is_cut_off_while_it_publishes_loses_no_event(
    git: Git, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """The limit on a call ends the wait for the log, not the event."""
    await repositories.create("web")
    faulty = serving.FaultyBus(bus, stuck=True)
    async with serving.serving(data_dir, cast("port.Bus", faulty), settings=GitSettings(call_timeout_s=3)) as url:
        folder, head = await working_copy(git, f"{url}/git")
        pushing = asyncio.create_task(git("push", "origin", "main", cwd=folder))
        await eventually(lambda: faulty.calls, "the push waits for the log")
        faulty.stuck = False
        with pytest.raises(GitFailedError):
            await pushing
        assert [new for _, new in await arrived(bus, 1)] == [head]


@pytest.mark.parametrize("how", ["removed", "no git"])
async def test_a_repository_that_cannot_be_packed_holds_nothing_up(
    git: Git, data_dir: Path, bus: port.Bus, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed just after its push, or no program to pack it with: late moves of others still come, and it stops well."""
    repositories = GitRepositories(data_dir, GitSettings(packs_max=-1))
    sweep = Sweep(repositories, Publication(repositories, bus, SystemClock()), SystemClock())
    paths = [await repositories.create(name) for name in ("web", "other")]
    folders = [await git.working_copy(f"work-{path.name}", str(path)) for path in paths]
    for folder in folders:
        await git("push", "--quiet", "origin", "main", cwd=folder)
    assert await sweep.publish("web", [REF])
    if how == "removed":
        shutil.rmtree(paths[0])
    with structlog.testing.capture_logs() as said, monkeypatch.context() as without_git:
        if how == "no git":
            without_git.setenv("PATH", "")
        running = asyncio.create_task(sweep.run())
        await arrived(bus, 2)
        if how == "no git":
            await eventually(lambda: "repository not packed" in str(said), "it could not be packed")
    await git.commit(folders[1], "file", "1\n")
    await git("push", "--quiet", "origin", "main", cwd=folders[1])
    sweep.late("other")
    await arrived(bus, 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
